"""Where the files of tests go: into memory, where there is room.

A run syncs some thirty files, which takes 5 ms each on a disk. In memory they are synced all the same.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  the files go to folders of their own in it
ROOM = 4 << 30
"""Bytes that the files of tests may have; those of tests that passed are removed."""


def use_memory() -> str:
    """Have temporary files in memory, unless there is no room or the user has said where; return the folder."""
    if "TMPDIR" not in os.environ and _has_room():
        tempfile.tempdir = str(MEMORY)
    return tempfile.gettempdir()


def _has_room() -> bool:
    return MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
