"""The public contract suite over all inferers and shapes of policies."""

from __future__ import annotations

from typing import Any

import pytest
import stacks

from cervello.inferers.testing import InfererContract

MODELS = [("feed_forward",), ("full",), ("masked_argmax",), ("recurrent", "GRU"), ("recurrent", "LSTM", 5, 7, 2), ("stacked_state",),
          ("rank_one",), ("one_row_only",), ("with_constant_output",), ("random_normal",), ("multinomial",)]


@pytest.fixture(params=[(model, inferer) for model in MODELS for inferer in stacks.INFERERS
                        if not (model[0] in ("random_normal", "multinomial") and inferer == "of_a_user")],
                ids=lambda pair: f"{'-'.join(map(str, pair[0]))}-{pair[1]}")
def combination(request: pytest.FixtureRequest) -> Any:
    return request.param


class TestInferers(InfererContract):
    @pytest.fixture(autouse=True)
    def _choose(self, combination: tuple[tuple[Any, ...], str]) -> None:
        self.model, self.inferer = combination

    def make_model(self) -> Any:
        return stacks.model(*self.model)

    def make_inferer(self, model: Any) -> Any:
        return stacks.INFERERS[self.inferer](model)
