"""The public contract suite over all inferers and wrapper stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import stacks

from cervello.spec import Wrapper
from cervello.wrappers.testing import WrapperContract

RANDOM = ("random_normal", "multinomial")  # an inferer of the user's own gives `Model.run` no agents to draw for


@pytest.fixture(params=[(stack, inferer) for stack in stacks.STACKS for inferer in stacks.INFERERS
                        if not (stack in RANDOM and inferer == "of_a_user")], ids="-".join)
def combination(request: pytest.FixtureRequest) -> Any:
    return request.param


class TestWrappers(WrapperContract):
    @pytest.fixture(autouse=True)
    def _choose(self, combination: tuple[str, str]) -> None:
        self.stack, self.inferer = combination

    def make_model(self) -> Any:
        return stacks.model(*stacks.STACKS[self.stack][0])

    def make_wrappers(self) -> Sequence[Wrapper]:
        return stacks.STACKS[self.stack][1]

    def make_inferer(self, model: Any) -> Any:
        return stacks.INFERERS[self.inferer](model)
