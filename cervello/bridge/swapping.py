"""`swap`: a policy changes to another file of the served folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cervello.bridge.codes import bad_request
from cervello.bridge.envelope import kind_of
from cervello.bridge.job import Job
from cervello.bridge.served_policy import ServedPolicy
from cervello.errors import CervelloError

DONE = "swapped"  # method of the message after a swap


def confined(folder: Path, given: Any) -> Path:
    """Finds a file inside a folder by its relative path with `/`.

    Raises:
      Refusal: there is no such file, or it is outside the folder, also by a link; the message is the same.
    """
    if type(given) is not str:
        raise bad_request("path", f"expected a str, got {kind_of(given)}")
    missing = bad_request("path", "expected a file of the served folder, found none; name it relative to that folder, with /")
    parts = given.split("/")
    if not given or "\\" in given or "\0" in given or ":" in given or any(part in ("", ".", "..") for part in parts):
        raise missing
    try:
        root = Path(os.path.realpath(folder))
        path = Path(os.path.realpath(root.joinpath(*parts), strict=True))
        inside = path.is_file() and path.is_relative_to(root)
    except (OSError, ValueError):
        raise missing from None
    if not inside:
        raise missing
    return path


def swap(served: ServedPolicy, job: Job) -> dict[str, Any]:
    """Changes the policy to another file from the next batch on; its agents continue.

    Raises:
      Refusal: no such file, or an incompatible one.
    """
    path = confined(served.folder, job.params.get("path"))
    try:
        model = served.policy.model.loaded(path)
        served.check_successor(model)
        served.policy.replace(model)
    except CervelloError as error:
        raise bad_request("path", str(error).replace(str(path), str(job.params["path"]))) from None
    return {"version": served.policy.version}
