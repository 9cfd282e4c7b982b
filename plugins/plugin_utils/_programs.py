# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a program of a mail host consists of: a change in one of them, and no other, restarts it.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

_COLLECTION: Final = Path(__file__).resolve().parents[2]
#: The package's folder: each program is a folder in it, with its files that are not Python.
PACKAGE: Final = _COLLECTION / "roles" / "programs" / "files" / "mailhosting"
#: Start every program.
LAUNCHER: Final = frozenset(PACKAGE.parent / name for name in ("run", "start.py"))
#: Drop-ins of units: the sandbox that they share, and the exceptions from it.
SANDBOXES: Final = PACKAGE.parents[1] / "templates" / "systemd"
_INCLUDED: Final = re.compile(r"{% include '([\w/.]+)' %}")
#: Installed beside the package, by the name under which programs import it.
BESIDE: Final = {"mailhosting_directory": _COLLECTION / "plugins" / "module_utils" / "_directory"}


def digest(program: str) -> str:
    """A SHA-256 over all files of `program`, a folder of the package, and of its unit's sandbox.

    Raises: ValueError if there is no such program.
    """
    found = sha256()
    for file in sorted(made_of(program) | sandbox(program)):
        found.update(f"{file.relative_to(_COLLECTION)}\0".encode())
        found.update(sha256(file.read_bytes()).digest())
    return found.hexdigest()


def sandbox(program: str) -> set[Path]:
    """The drop-ins of the unit with the program's name, and the templates that they include."""
    units = ("mailhosting-", f"mailhosting-{program}", f"mailhosting-{program}@")
    files = {file for unit in units for file in _files(SANDBOXES / f"{unit}.service.d")}
    return files | {SANDBOXES.parent / part for file in files for part in _INCLUDED.findall(file.read_text())}


def made_of(program: str) -> set[Path]:
    """The program's own files, the launcher, and all files of ours that they import.

    Raises: ValueError if there is no such program.
    """
    folder = PACKAGE / program
    if not (folder / "__init__.py").is_file():
        raise ValueError(f"there is no program {program!r}")
    found: set[Path] = set()
    new = {*_files(folder), *LAUNCHER}
    while new:
        found |= new
        new = {needed for file in new if file.suffix == ".py" for needed in _imported(file)} - found
    return found


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _imported(file: Path) -> Iterator[Path]:
    """The files of ours that a file imports."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level:
            module = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for name in node.names:
                yield from _module(module / name.name) or _module(module)
        else:
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            for module_name in modules:
                if beside := BESIDE.get(module_name.partition(".")[0]):
                    yield from _files(beside)


def _module(path: Path) -> list[Path]:
    """The files of a module: its own, a package's __init__, or those under a name of BESIDE."""
    beside = (path / "__init__.py", path.with_suffix(".py"), path.with_suffix(".lua"))
    return [file for file in beside if file.is_file()]
