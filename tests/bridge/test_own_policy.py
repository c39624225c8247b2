"""The page for games says how a policy of one's own is served: with a file of ML-Agents it does what it shows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from pages import blocks
from server_process import ServerProcess


def test_a_policy_of_ml_agents_decides_for_hundreds_of_agents(shared_models: Any, tmp_path: Path) -> None:
    shutil.copy(shared_models.path("mlagents_3DBall"), tmp_path / "3DBall.onnx")
    (block,) = blocks("docs/guides/engines.md", "py")
    names: dict[str, Any] = {}
    with ServerProcess(tmp_path) as server:
        code = block.text.replace("tcp://127.0.0.1:5577", server.address).replace("timeout_s=0.1", "timeout_s=30")
        assert code.count(server.address) == 1
        exec(compile(code, "engines.md", "exec"), names)
    assert names["actions"].shape == (300, 2)
    assert np.isfinite(names["actions"]).all()
    assert len(np.unique(names["actions"], axis=0)) > 250  # each agent draws its own
