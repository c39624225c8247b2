"""Pictures."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import stacks

from cervello import Image, InputError, Policy, WrapperError
from cervello.inferers.testing import same_bits


def seen(*wrappers: Any, given: Any) -> Any:
    policy = Policy(stacks.model("picture", 4, 6), wrappers=wrappers)
    policy.begin_agents(range(len(given)))
    return policy.infer_batch(list(range(len(given))), {"image": given})["action"]


def test_bytes_become_floats_with_channels_in_front() -> None:
    given = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 4), np.uint8)
    channels_first = given.transpose(0, 3, 1, 2)
    expected = seen(given=channels_first.astype(np.float32) * np.float32(1 / 255))
    assert same_bits(seen(Image("image"), given=given), expected)
    assert same_bits(seen(Image("image", layout="CHW"), given=channels_first), expected)
    assert same_bits(seen(Image("image"), given=np.asfortranarray(given)), expected)
    assert same_bits(seen(Image("image", 1.0), given=given), seen(given=channels_first.astype(np.float32)))


def test_what_the_caller_gives_is_bytes() -> None:
    policy = Policy(stacks.model("picture", 4, 6), wrappers=[Image("image")])
    assert str(policy.inputs["image"]) == "image: (N, 6, 6, 4) uint8"
    policy.begin_agent(1)
    with pytest.raises(InputError, match="expected uint8, got float32, which is never cast to it"):
        policy.infer_batch([1], {"image": np.zeros((1, 6, 6, 4), np.float32)})
    with pytest.raises(InputError, match=re.escape("expected (1, 6, 6, 4) uint8, got (1, 4, 6, 6) uint8")):
        policy.infer_batch([1], {"image": np.zeros((1, 4, 6, 6), np.uint8)})


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Image("image", "a"), "Image('image'): expected a finite number as scale, got 'a'"),  # type: ignore[arg-type]
    (lambda: Image("image", np.inf), "expected a finite number as scale, got inf"),
    (lambda: Image("image", layout="WHC"), "expected layout='HWC' or 'CHW', got 'WHC'"),
    (lambda: Policy(stacks.model("feed_forward"), wrappers=[Image("obs")]), "expected a float32 input (N, C, H, W), got obs")])
def test_pictures_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(WrapperError, match=re.escape(message)):
        make()
