# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a notice: chosen by its kind, with the facts filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

#: Notices about a mailbox.
QUOTA_KINDS: Final = ("quota_warning", "quota_exceeded", "quota_under")
#: About a limit, whose reply the sender gets.
PAUSE_KINDS: Final = ("limit_pause",)
#: About mail that was accepted and held, of which the sender gets no reply.
HOLD_KINDS: Final = ("bulk_mail", "invalid_recipients")
#: For the operator alone.
OPERATOR_KINDS: Final = ("virus_outbreak",)
#: About infected mail, for one account or for a tenant's contact, and for nobody else.
VIRUS_KINDS: Final = ("virus_received", "virus_sent")
KINDS: Final = QUOTA_KINDS + PAUSE_KINDS + HOLD_KINDS + OPERATOR_KINDS + VIRUS_KINDS
#: Names of kinds in release 0.1.0, and the present names.
FORMER_KINDS: Final = {"mass_mail": "bulk_mail", "unknown_recipients": "invalid_recipients"}
LANGUAGES: Final = ("en", "ja")

#: Names that a text may have in braces.
NAMES: Final = (
    "account",
    "action",
    "count",
    "direction",
    "limit",
    "percent",
    "quota",
    "recipient",
    "sender",
    "subject",
    "support_address",
    "support_name",
    "tenant",
    "until",
    "virus",
)

_NAME: Final = re.compile(r"\{([a-z_]+)\}")
_KEY: Final = re.compile(
    rf"(?:[a-z0-9][a-z0-9-]*/)?({'|'.join((*KINDS, *FORMER_KINDS))})(?:\.(?:{'|'.join(LANGUAGES)}))?\Z"
)
_SUBJECT: Final = "Subject: "
_MEBIBYTE: Final = 1 << 20
_OPEN_END: Final = {"en": "it is lifted", "ja": "解除されるまで"}
#: What became of an infected mail, by the gate's word.
_ACTIONS: Final = {
    "en": {
        "strip": "the infected part was removed",
        "delete": "the mail was deleted",
        "quarantine": "the mail was withheld",
        "reject": "the mail was refused",
    },
    "ja": {
        "strip": "感染した部分を削除しました",
        "delete": "メールを削除しました",
        "quarantine": "メールを隔離しました",
        "reject": "メールの受け付けを拒否しました",
    },
}
_DIRECTIONS: Final = {
    "en": {"send": "sending", "receive": "receiving"},
    "ja": {"send": "送信", "receive": "受信"},
}


class UnknownKindError(ValueError):
    """There is no text for a notice; the message names its kind."""


class Text(NamedTuple):
    """A subject in one line, and a body that ends with a newline."""

    subject: str
    body: str


def parse(written: str) -> Text:
    """Read an operator's text: `Subject: …`, an empty line, the body.  Raises: ValueError for anything else."""
    head, empty, body = written.replace("\r\n", "\n").partition("\n\n")
    if not empty or not head.startswith(_SUBJECT) or "\n" in head or not body.strip():
        raise ValueError("a text begins with a line 'Subject: …' and an empty line, and has a body")
    unknown = sorted(set(_NAME.findall(written)) - set(NAMES))
    if unknown:
        raise ValueError(f"{{{unknown[0]}}} is nothing that can be filled in; there are {', '.join(NAMES)}")
    if any(len(line.encode()) > 900 for line in written.split("\n")):
        raise ValueError("a line is longer than 900 bytes")
    return Text(head.removeprefix(_SUBJECT).strip(), f"{body.rstrip()}\n")


def check(texts: Mapping[str, str]) -> list[str]:
    """The mistakes in an operator's texts by key, a line each."""
    problems = []
    for key, written in texts.items():
        found = _KEY.match(key)
        if found is None:
            problems.append(
                f"{key}: not KIND, KIND.LANGUAGE or one of them after TENANT/, "
                f"with a kind of {', '.join(KINDS)} and a language of {', '.join(LANGUAGES)}"
            )
            continue
        if found[1] in FORMER_KINDS:
            problems.append(f"{key}: {found[1]} is called {FORMER_KINDS[found[1]]} since 0.2.0")
            continue
        try:
            parse(written)
        except ValueError as error:
            problems.append(f"{key}: {error}")
    return problems


def find(kind: str, tenant: str | None, language: str, texts: Mapping[str, str]) -> Text:
    """The best text: the tenant's own before the general one, one of the language before one for all languages.

    Raises: UnknownKindError.
    """
    if kind not in KINDS:
        raise UnknownKindError(f"no text is known for notices of kind {kind!r}; known are {', '.join(KINDS)}")
    names = (f"{kind}.{language}", kind)
    keys = [f"{tenant}/{name}" for name in names] if tenant else []
    for key in [*keys, *names]:
        if key in texts:
            return parse(texts[key])
    return _own(kind, language)


@cache
def _own(kind: str, language: str) -> Text:
    folder = Path(__file__).parent / "texts"
    for name in (f"{kind}.{language}", kind, f"{kind}.{LANGUAGES[0]}"):
        path = folder / f"{name}.txt"
        if path.exists():
            return parse(path.read_text(encoding="utf-8"))
    raise UnknownKindError(f"{folder} has no text for notices of kind {kind!r}")


def fill(text: Text, values: Mapping[str, str]) -> Text:
    """The text with its names replaced.  A missing value becomes a hyphen, and no value adds a line."""

    def value(match: re.Match[str]) -> str:
        return " ".join(values.get(match[1], "-").split()) or "-"

    return Text(_NAME.sub(value, text.subject), _NAME.sub(value, text.body))


def values(facts: Mapping[str, Any], tenant: str | None, language: str) -> dict[str, str]:
    """A notice's facts as text."""
    plain = ("account", "count", "limit", "percent", "recipient", "sender", "subject", "virus")
    shown = {name: str(facts[name]) for name in plain if facts.get(name) is not None}
    shown["tenant"] = tenant or "-"
    if "quota" in facts:
        shown["quota"] = str(-(-int(facts["quota"]) // _MEBIBYTE))
    direction = facts.get("direction")
    if direction:
        shown["direction"] = _DIRECTIONS.get(language, _DIRECTIONS["en"]).get(str(direction), str(direction))
    action = facts.get("action")
    if action:
        shown["action"] = _ACTIONS.get(language, _ACTIONS["en"]).get(str(action), str(action))
    until = facts.get("until")
    shown["until"] = _moment(str(until)) if until else _OPEN_END.get(language, _OPEN_END["en"])
    return shown


def _moment(text: str) -> str:
    """An ISO 8601 time in the host's time zone; another text stays unchanged."""
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S %z}"
    except ValueError:
        return text
