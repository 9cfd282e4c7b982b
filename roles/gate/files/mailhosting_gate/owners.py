# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, and whose a mail is that no login says it of."""

from __future__ import annotations

import re
from typing import Final

from .directory import Directory
from .fields import REDIRECTED_FROM
from .model import Address
from .valkey import Down, Valkey

#: A field, in lower case, that says of what a filter sends that it is an answer (RFC 3834 5); REDIRECTED_FROM says who
#: sends it on. Dovecot writes them before what others say, in what is sent on or by `vacation :mime`, so the first of
#: them counts.
SUBMITTED: Final = "auto-submitted"


def relaying(directory: Directory, valkey: Valkey, client: str, sender: Address | None) -> Address | None:
    """The login that lets this client relay; the sender where that cannot be told.  Unavailable."""
    usernames = directory.relay_logins(sender) if sender else []
    keys = [f"mh:1:login:{client}/{username}" for username in usernames]
    try:
        (values,) = valkey.ask(("MGET", *keys)) if keys else ([],)
    except Down:
        return sender
    if isinstance(values, list):
        for username, value in zip(usernames, values, strict=False):
            if isinstance(value, bytes):
                # @ and a domain is whoever its value names after the time.
                who = value.decode("utf-8", "surrogateescape").partition(" ")[2]
                return address(who or username, delimiter="")
    return sender


def of_filter(first: tuple[str, str] | None, sender: Address | None) -> Address | None:
    """Whose filter made a mail, by the `first` of those fields: who sends it on, or the sender of an answer's envelope.

    Not who an answer is from: a filter may say that of anybody (`vacation :from`).
    """
    return address(first[1]) if first and first[0] == REDIRECTED_FROM else sender


def is_answer(first: tuple[str, str] | None) -> bool:
    """Whether a filter's mail is an answer, which leaves without a sender (RFC 5230 5.1)."""
    return first is not None and first[0] == SUBMITTED and first[1].lower().startswith("auto-replied")


def address(written: str, delimiter: str = "+") -> Address | None:
    """An address of an envelope, or a login; None for what is none, the null sender among it.

    What has no place in an address stays, as a character that the directory can be asked for: a catch-all takes it.
    """
    text = written.strip().encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "\ufffd")
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    local_part, at, domain = text.rpartition("@")
    if len(local_part) > 1 and local_part.startswith('"') and local_part.endswith('"'):
        # RFC 5321 4.1.2: a backslash in it stands for the character after it.
        local_part = re.sub(r"\\(.)", r"\1", local_part[1:-1], flags=re.DOTALL)
    if delimiter:
        local_part = local_part.partition(delimiter)[0] or local_part
    domain = domain.removesuffix(".")
    if not (at and local_part and domain):
        return None
    # Nobody's local part has an @, and the directory takes what follows the first for the domain.
    return Address(local_part.lower().replace("@", "\ufffd"), domain.lower())
