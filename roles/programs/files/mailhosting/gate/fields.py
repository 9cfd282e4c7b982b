# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Header fields that the gate adds or changes.  Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Final, NamedTuple

#: Fields, in lower case, that every mail should have: RFC 5322 3.6 demands the first two, and mail filters the third.
DEMANDED: Final = ("date", "from", "message-id")

#: Fields, in lower case: the first names the account whose filter redirected a mail, the others name that account too.
REDIRECTED_FROM: Final = "x-sieve-redirected-from"
REPEATING: Final = (REDIRECTED_FROM, "delivered-to", "received")


class Field(NamedTuple):
    """The `number`th field of a `name`, counted from 1."""

    name: str
    number: int
    value: str


@dataclass
class Marked:
    """Finds the fields of a filter's mail in which Dovecot repeats the mark of a mailbox's name in the queue.

    If an address had another holder before, capitals in its domain mark whose mail it is (see `queued_mailbox` in the
    directory).  Dovecot repeats them in the fields of a redirected mail, and in the From of an automatic reply.
    `plain` are those fields without the mark.  `sender` is that of a reply's envelope, which has no mark.
    """

    sender: str
    plain: list[Field] = field(default_factory=list)
    _redirected: str = ""  # its domain
    _seen: Counter[str] = field(default_factory=Counter)

    def header(self, name: str, value: str) -> None:
        """The next field of the mail."""
        known = name.lower()
        self._seen[known] += 1
        if known == REDIRECTED_FROM:
            self._redirected = self._redirected or value.strip().rpartition("@")[2]
        if known in REPEATING and self._redirected:
            said, meant = f"@{self._redirected}", f"@{self._redirected.lower()}"
        elif known == "from" and not self._redirected and value.strip().startswith("<"):
            meant = f"@{self.sender.rpartition('@')[2].lower()}>"
            said = value.rstrip()[-len(meant) :]
        else:
            return
        if said != meant and said.lower() == meant:
            self.plain.append(Field(name, self._seen[known], value.replace(said, meant)))


def missing(seen: Collection[str], sender: str, unique: str, now: datetime) -> tuple[tuple[str, str], ...]:
    """The fields of `DEMANDED` that are not in `seen`, each with its name and value.

    `sender` is an address as it stands on the wire, `unique` a queue id and the host's name with an @ between them.
    """
    values = {
        "date": ("Date", format_datetime(now)),
        "from": ("From", sender),
        "message-id": ("Message-ID", f"<{now:%Y%m%d%H%M%S}.{unique}>"),
    }
    return tuple(values[name] for name in DEMANDED if name not in seen and values[name][1])


def came_for(recipient: str) -> tuple[tuple[str, str], ...]:
    """The field that names the original recipient, as Postfix's own delivery agents write it; empty if it cannot."""
    text = recipient.removeprefix("<").removesuffix(">")
    # RFC 5322 2.1.1: a line has 998 octets.
    return (("X-Original-To", text),) if text.isascii() and text.isprintable() and len(text) < 900 else ()


def without_client(received: str, queue_id: str) -> str | None:
    """Postfix's own Received field of the mail `queue_id`, with loopback as its client; None if it is another field.

    The client stands on the first line of that field, alone.
    """
    client, feed, rest = received.partition("\n")
    if client.startswith(" from ") and re.search(rf"\sid {re.escape(queue_id)}[;\s]", rest):
        return f"from localhost (localhost [127.0.0.1]){feed}{rest}"
    return None
