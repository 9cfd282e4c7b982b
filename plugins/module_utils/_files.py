# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making files and folders on a host so that nobody sees them half done or too open.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

#: For folders that hold nothing secret by name.
FOLDER_MODE: Final = 0o755


def make_folders(folder: str) -> Iterator[str]:
    """Make `folder` and its parents, open to readers whatever the umask; yields each one as soon as it is there."""
    if os.path.isdir(folder):
        return
    yield from make_folders(os.path.dirname(folder))
    os.mkdir(folder)
    yield folder
    os.chmod(folder, FOLDER_MODE)


def create_file(path: str, content: bytes, mode: int, *, uid: int = -1, gid: int = -1, sync: bool = True) -> None:
    """Write a new file that is its owner's alone until it is complete; -1 is one's own user or group.

    FileExistsError also where a symbolic link is.  `sync` false: the caller makes many and syncs once.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fchown(file.fileno(), uid, gid)
        os.fchmod(file.fileno(), mode)
        if sync:
            os.fsync(file.fileno())


def replace_file(path: str, content: bytes, mode: int, *, sync: bool = True) -> None:
    """Put a file where another may be: whoever reads `path` gets the one or the other; `sync` as in create_file."""
    staged = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    with contextlib.suppress(FileNotFoundError):  # of a run that was killed
        os.unlink(staged)
    create_file(staged, content, mode, sync=sync)
    os.replace(staged, path)
