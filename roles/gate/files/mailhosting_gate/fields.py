# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Header fields that the gate writes: what a program left out, and what Postfix cannot know."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from email.utils import format_datetime
from typing import Final

#: In lower case; RFC 5322 3.6 wants the first two, and everybody else the third.
DEMANDED: Final = ("date", "from", "message-id")


def missing(seen: Collection[str], sender: str, unique: str, now: datetime) -> tuple[tuple[str, str], ...]:
    """Name and value of each of `DEMANDED` that is not in `seen`.

    `sender` is an address as it stands on the wire, `unique` a queue id and the host's name with an @ between them.
    """
    values = {
        "date": ("Date", format_datetime(now)),
        "from": ("From", sender),
        "message-id": ("Message-ID", f"<{now:%Y%m%d%H%M%S}.{unique}>"),
    }
    return tuple(values[name] for name in DEMANDED if name not in seen and values[name][1])


def came_for(recipient: str) -> tuple[tuple[str, str], ...]:
    """The field by which mailboxes know which address a mail came for, as Postfix's own delivery agents write it."""
    text = recipient.removeprefix("<").removesuffix(">")
    # RFC 5322 2.1.1: a line has 998 octets.
    return (("X-Original-To", text),) if text.isascii() and text.isprintable() and len(text) < 900 else ()


def without_client(received: str, queue_id: str) -> str | None:
    """Postfix's own Received field of the mail `queue_id`, the host's loopback in its client's place; None for another.

    Its first line says who the client is, and nothing else.
    """
    client, feed, rest = received.partition("\n")
    if client.startswith(" from ") and re.search(rf"\sid {re.escape(queue_id)}[;\s]", rest):
        return f"from localhost (localhost [127.0.0.1]){feed}{rest}"
    return None
