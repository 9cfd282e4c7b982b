# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds by a few shell commands whether the host has the files of config_tree as wanted.

PRIVATE to the collection: it can have breaking changes at any time.

In doubt the answer is no: then the module runs and finds what differs.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..module_utils import _config_tree


def command(options: Mapping[str, Any], contents: Mapping[str, bytes]) -> str:
    """A command that prints the lines of `expected`, in any order, if all is well; it fails if a file is missing.

    `options` are those of a tree, `contents` its files by path relative to `dest`.
    """
    paths, folders = sorted(contents), list(_folders(contents))
    steps = [["cd", "--", options["dest"]]]
    if folders:
        steps.append(["realpath", "--relative-to=.", "--", *folders])
    steps.append(["stat", "--format=%f %U %G %n", "--", *paths])
    steps.append(["sha256sum", "--", *paths])
    if options["purge"]:
        steps.append(["find", *options["purge"], "!", "-type", "d"])
    return f"({' && '.join(shlex.join(step) for step in steps)})"


def none_of(paths: Iterable[str]) -> str:
    """A command that fails if one of these paths exists."""
    return " && ".join(f"test ! -e {path} -a ! -L {path}" for path in map(shlex.quote, paths)) or "true"


def expected(options: Mapping[str, Any], contents: Mapping[str, bytes]) -> Iterator[str]:
    """The lines: folders, none of them a link; type, mode, owners and content of each file; other files that may exist.

    Raises: TreeError in the same cases as the module.
    """
    yield from _folders(contents)
    for path, chosen in _config_tree.attributes(contents, options, options["files"]).items():
        yield f"{_config_tree.file_mode(chosen['mode']):x} {chosen['owner']} {chosen['group']} {path}"
    for path, content in contents.items():
        yield f"{hashlib.sha256(content).hexdigest()}  {path}"
    for folder in options["purge"]:
        below = (os.path.relpath(path, folder) for path in contents)
        yield from (f"{folder}/{path}" for path in below if not path.startswith("../"))


def _folders(paths: Iterable[str]) -> Iterator[str]:
    yield from sorted({os.path.dirname(path) for path in paths} - {""})
