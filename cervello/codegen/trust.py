"""Checks that only the user and the administrator can write to a folder, because code from there is executed."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def is_owner_only(folder: Path) -> bool:
    """Whether only this user and the system's administrator can write to a folder or replace it.

    The user must own the folder. The user or the administrator must own its parent folders; others may write to a parent only if it has
    the sticky bit, like /tmp. On systems without owners and modes the answer is yes.

    Args:
      folder: a path without symbolic links.
    Raises:
      OSError: it cannot be read.
    """
    if not hasattr(os, "getuid"):
        return True
    user, others_write = os.getuid(), stat.S_IWGRP | stat.S_IWOTH
    own = folder.stat()
    if own.st_uid != user or own.st_mode & others_write:
        return False
    for above in folder.parents:
        facts = above.stat()
        if facts.st_uid not in (user, 0) or (facts.st_mode & others_write and not facts.st_mode & stat.S_ISVTX):
            return False
    return True


def make_private(folder: Path) -> None:
    """Creates a folder and its missing parents, each private to this user; existing folders are unchanged."""
    for path in (*reversed(folder.parents), folder):
        if not path.is_dir():
            path.mkdir(mode=0o700, exist_ok=True)
