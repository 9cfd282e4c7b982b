# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML whose values have line numbers and no guessed types.

PRIVATE to the collection: it can have breaking changes at any time.

A key or a value is the text as written (`no`, `001` and `12:30` stay texts).  `native` gives a value its type by YAML
1.2's JSON schema, where a caller asks for it.  Anchors, aliases, tags (but `!vault`) and a second document are errors:
no tenant's file needs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

#: libyaml's parser is ten times as fast as Python's; both make the same events.
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_VAULT_TAG: Final = "!vault"
_DEPTH: Final = 10  # three levels more than any of the files needs
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None, "~": None, "": None}


class BrokenYamlError(Exception):
    """Text that is not YAML, or that uses more of YAML than the files need; ends the reading of its file."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class Scalar:
    """One text.  `plain`: without quotes, so `native` may give it another type."""

    text: str
    line: int
    plain: bool
    encrypted: bool = False  # tagged !vault

    def native(self) -> str | int | bool | None:
        if self.plain:
            if self.text in _WORDS:
                return _WORDS[self.text]
            if _INTEGER.match(self.text):
                return int(self.text)
        return self.text


@dataclass(slots=True)
class Mapping:
    """Keys and values in the order of the file, duplicate keys included."""

    line: int
    items: list[tuple[Scalar, Node]] = field(default_factory=list)


@dataclass(slots=True)
class Sequence:
    """Values in the order of the file."""

    line: int
    items: list[Node] = field(default_factory=list)


Node: TypeAlias = Scalar | Mapping | Sequence


def parse(text: str, loader: Any = LOADER) -> Node | None:
    """The one document in `text`; None if it is empty.

    Raises: BrokenYamlError with the line and the fault.
    """
    try:
        return _build(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = f" ({error.context})" if error.context else ""
        raise BrokenYamlError(mark.line + 1 if mark else 1, f"broken YAML: {error.problem}{context}") from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise BrokenYamlError(line, f"broken YAML: {error.reason}") from None


class _Builder:
    """Builds nodes without recursion: a hostile file may be nested to any depth."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Mapping | Sequence] = []
        self._keys: list[Scalar | None] = []  # for each open node, the key without a value yet

    def add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
            return
        key = self._keys[-1]
        if key is not None:
            parent.items.append((key, node))
            self._keys[-1] = None
        elif isinstance(node, Scalar):
            self._keys[-1] = node
        else:
            raise BrokenYamlError(node.line, "a key is a text, not a list or a mapping")

    def open(self, node: Mapping | Sequence) -> None:
        self.add(node)
        if len(self._open) == _DEPTH:
            raise BrokenYamlError(node.line, f"more than {_DEPTH} lists and mappings within each other")
        self._open.append(node)
        self._keys.append(None)

    def close(self) -> None:
        self._open.pop()
        self._keys.pop()


def _build(events: Iterator[Any]) -> Node | None:
    builder = _Builder()
    for event in events:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            builder.add(_scalar(event))
        elif kind is yaml.MappingStartEvent:
            builder.open(Mapping(_line(event)))
        elif kind is yaml.SequenceStartEvent:
            builder.open(Sequence(_line(event)))
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            builder.close()
        elif kind is yaml.AliasEvent:
            raise BrokenYamlError(
                event.start_mark.line + 1, "an alias (*name) is not allowed: write the value out, or quote it"
            )
        elif kind is yaml.DocumentStartEvent and builder.root is not None:
            raise BrokenYamlError(event.start_mark.line + 1, "a second document (---) is not allowed")
    return builder.root


def _line(event: Any) -> int:
    """The line of an event, which must carry no anchor and no tag."""
    line: int = event.start_mark.line + 1
    if event.anchor is not None:
        raise BrokenYamlError(line, "an anchor (&name) is not allowed: quote the value if it is a text")
    if event.tag is not None:
        raise BrokenYamlError(line, "a tag (!name) is not allowed: quote the value if it is a text")
    return line


def _scalar(event: Any) -> Scalar:
    if event.tag == _VAULT_TAG:
        return Scalar(event.value, event.start_mark.line + 1, plain=False, encrypted=True)
    return Scalar(event.value, _line(event), plain=not event.style)
