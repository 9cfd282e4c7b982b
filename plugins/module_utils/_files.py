# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creating files and folders on a host so that no other process finds them incomplete or too open.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

#: For folders whose names are not secret.
FOLDER_MODE: Final = 0o755


def make_folders(folder: str) -> Iterator[str]:
    """Create `folder` and its parents, readable for all whatever the umask; yields each one once it exists."""
    if os.path.isdir(folder):
        return
    yield from make_folders(os.path.dirname(folder))
    os.mkdir(folder)
    yield folder
    os.chmod(folder, FOLDER_MODE)


def create_file(path: str, content: bytes, mode: int, *, uid: int = -1, gid: int = -1, sync: bool = True) -> None:
    """Write a new file, which only its owner can open until it is complete; uid or gid -1: the process's own.

    `sync` false: the caller writes many files and syncs once.

    Raises: FileExistsError if the path exists, a symbolic link too.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fchown(file.fileno(), uid, gid)
        os.fchmod(file.fileno(), mode)
        if sync:
            os.fsync(file.fileno())


def replace_file(path: str, content: bytes, mode: int, *, sync: bool = True) -> None:
    """Replace or create a file: a reader of `path` gets the old or the new one; `sync` as in create_file."""
    staged = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    with contextlib.suppress(FileNotFoundError):  # left by a run that was killed
        os.unlink(staged)
    create_file(staged, content, mode, sync=sync)
    os.replace(staged, path)
