"""Whether what lies in a folder can be trusted to be the user's own: code from there is executed."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def only_ours(folder: Path) -> bool:
    """Whether nobody but this user and the system's administrator can put files into a folder, or another folder in its place.

    The folder itself must be the user's own. Folders above it must belong to either of the two, and others may write there only
    where names are protected, as in /tmp (the sticky bit). On systems without owners and modes the answer is yes.

    Args:
      folder: without symbolic links.
    Raises:
      OSError: it cannot be looked at.
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
    """Makes a folder and those above it that are missing, each for this user alone; what is there stays as it is."""
    for path in (*reversed(folder.parents), folder):
        if not path.is_dir():
            path.mkdir(mode=0o700, exist_ok=True)
