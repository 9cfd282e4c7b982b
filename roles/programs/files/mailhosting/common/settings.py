# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program's settings: a dataclass, read from a JSON file that the program's role writes.

systemd opens the file for a resident program (OpenFile=), so that the program cannot read the folder.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from .errors import SettingsError
from .systemd import passed_file, passed_text

LOG: Final = logging.getLogger(__name__)

T = TypeVar("T")

#: systemd's name of the file.
_NAME: Final = "settings"


def read(kind: type[T], file: Path) -> T:
    """The settings in `file` that the dataclass `kind` has; others are ignored.  Raises: SettingsError."""
    try:
        return parse(kind, file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: {error}") from error


def handed_over(kind: type[T], otherwise: Path | None = None) -> T:
    """The settings in the file that systemd opened.  If it opened none, those in the file `otherwise`.

    Raises: SystemExit after it has logged the mistakes.
    """
    try:
        if otherwise is not None and passed_file(_NAME) is None:
            return read(kind, otherwise)
        return parse(kind, *_handed_over())
    except (OSError, UnicodeDecodeError, SettingsError) as error:
        LOG.critical("%s", error)
        raise SystemExit(os.EX_CONFIG) from None


def _handed_over() -> tuple[str, str]:
    """The text of the file that systemd opened, and its path.  Raises: OSError, UnicodeDecodeError, SettingsError."""
    number = passed_file(_NAME)
    if number is None:
        raise SettingsError(f"systemd opened no file as {_NAME!r} (OpenFile=)")
    path = Path(f"/proc/self/fd/{number}").readlink()
    return passed_text(_NAME), str(path)


def parse(kind: type[T], text: str, file: str) -> T:
    """The settings in the text of a file.  Raises: SettingsError with all mistakes."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{file}: this is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{file}: this is not a JSON object")
    hints = get_type_hints(kind)
    problems = "; ".join(_problems(found, hints))
    if problems:
        raise SettingsError(f"{file}: {problems}")
    return kind(**{name: found[name] for name in hints})


def _problems(found: dict[str, Any], hints: dict[str, Any]) -> Iterator[str]:
    for name, hint in hints.items():
        if name not in found:
            yield f"{name} is missing"
        elif not _fits(found[name], hint):
            called = hint.__name__ if get_origin(hint) is None else str(hint).replace("typing.", "")
            yield f"{name}: {found[name]!r} is not of the type {called}"


def _fits(value: object, hint: Any) -> bool:
    """Whether a value of JSON is of the type."""
    arguments = get_args(hint)
    match get_origin(hint):
        case kind if kind is list:
            return isinstance(value, list) and all(_fits(each, arguments[0]) for each in value)
        case kind if kind is dict:
            return isinstance(value, dict) and all(_fits(each, arguments[1]) for each in value.values())
        case kind if kind is UnionType:
            return any(_fits(value, each) for each in arguments)
        case kind if kind is Literal:
            return value in arguments
        case _:
            # To Python a bool is an int; in a setting it is not.
            return hint is Any or value.__class__ is hint
