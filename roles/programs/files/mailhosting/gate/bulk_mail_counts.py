# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts bulk mail, and recipients that do not exist, in Valkey: for each sender within windows of the sender's own.

The first count begins a window.  Once mail of some content has reached the limit, every mail of that content is in
excess until the window ends; after too many invalid recipients every mail is.  The checks decide what happens to it.
Every function that asks Valkey raises ValkeyError, also if Valkey refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ..common import keys as names
from ..common.valkey import Script, Valkey, sound, unexpected
from .fingerprint import Fingerprint

Kind = Literal["bulk_mail", "invalid_recipients"]
_KINDS: Final[dict[bytes, Kind]] = {b"bulk_mail": "bulk_mail", b"invalid_recipients": "invalid_recipients"}

_SCRIPT: Final = Script(Path(__file__).with_suffix(".lua"))

#: RFC 3463: the recipient's address is bad (7 and 8 are of the sender's), or its host is not there.
_INVALID_STATUS: Final = re.compile(r"5\.(?:1\.(?![78]\b)\d{1,3}|4\.4)\b")
#: Where a server rejected without an enhanced code Postfix writes 5.0.0; of replies, 550 and 553 are about mailboxes.
_INVALID_REPLY: Final = re.compile(r"smtp;\s*55[03][ -](?!\d\.\d)")


@dataclass(frozen=True)
class Rule:
    """So many recipients of one content, and so many invalid ones, are too many in `per` seconds; None: any pass."""

    recipients_per_content: int | None
    invalid_recipients: int | None
    per: int


@dataclass(frozen=True)
class Excess:
    """There are too many recipients: `count`, and the excess ends in `seconds`.

    Of all answers about an excess, `begins` is true for the first, so that people are told once.
    """

    kind: Kind
    count: int
    begins: bool
    seconds: int


def mail(valkey: Valkey, sender: str, rule: Rule, content: Fingerprint | None, recipients: int) -> Excess | None:
    """Count a mail that no check has rejected; the answer is an excess if there is one.

    `sender` is a `CountedParty.key`, such as `account:17`.
    """
    if rule.recipients_per_content is None and rule.invalid_recipients is None:
        return None
    return _ask(valkey, sender, rule, 0, recipients, content)


def take_back(valkey: Valkey, sender: str, rule: Rule, content: Fingerprint | None, recipients: int) -> None:
    """Take back a mail that was counted, because it is rejected after all."""
    if content is not None and recipients:
        _ask(valkey, sender, rule, 0, -recipients, content)


def invalid(valkey: Valkey, sender: str, rule: Rule, recipients: int = 1) -> Excess | None:
    """Count recipients that do not exist; the answer is an excess if there is one."""
    return None if rule.invalid_recipients is None else _ask(valkey, sender, rule, recipients, 0, None)


def release(valkey: Valkey, sender: str) -> None:
    """End every excess of the sender, and count anew."""
    sound(*valkey.ask(("DEL", *_keys(sender))))


def stopped_tenants(valkey: Valkey) -> dict[int, int]:
    """Tenants for which mail of some content is in excess now, and the seconds left."""
    found: dict[int, int] = {}
    cursor = b"0"
    while True:
        (reply,) = valkey.ask(("SCAN", cursor.decode(), "MATCH", names.BULK_OF_TENANTS, "COUNT", 1000))
        cursor, keys = sound(reply)
        for key in map(bytes.decode, keys):
            begun, left = map(sound, valkey.ask(("HGET", key, "begun"), ("PTTL", key)))
            if begun:
                found[int(key.rpartition(":")[2])] = -(-left // 1000)
        if cursor == b"0":
            return found


def says_invalid(status: str) -> bool:
    """Whether an enhanced status code means that the recipient does not exist."""
    return bool(_INVALID_STATUS.match(status))


def invalid_recipients(delivery_status: str) -> int:
    """How many recipients do not exist, by a delivery status notification (RFC 3464)."""
    found = 0
    for block in re.split(r"\n\s*\n", delivery_status):
        fields = dict(re.findall(r"^([a-z-]{1,40}):\s*(.*(?:\r?\n[ \t].*)*)", block.lower(), re.MULTILINE))
        status, diagnosis = fields.get("status", ""), fields.get("diagnostic-code", "")
        if fields.get("action", "").strip() == "failed":
            unclear = status.startswith("5.0.0") and _INVALID_REPLY.match(diagnosis)
            found += bool(says_invalid(status) or unclear)
    return found


def _keys(sender: str) -> tuple[str, str]:
    return names.bulk(sender), names.invalid(sender)


def _ask(
    valkey: Valkey, sender: str, rule: Rule, missed: int, recipients: int, content: Fingerprint | None
) -> Excess | None:
    limits = (rule.recipients_per_content or 0, rule.invalid_recipients or 0, rule.per)
    digests: tuple[str | int, ...] = (content.quorum, *content.digests) if content else (0,)
    answer = _SCRIPT.run(valkey, _keys(sender), *limits, missed, recipients, *digests)
    match answer:
        case []:
            return None
        case [bytes(kind), int(count), int(begins), int(milliseconds)] if kind in _KINDS:
            return Excess(_KINDS[kind], count, bool(begins), -(-milliseconds // 1000))
    raise unexpected(answer)
