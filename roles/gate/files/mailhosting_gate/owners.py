# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, and whose a mail is that no login says it of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.utils import getaddresses
from typing import Final

from .directory import Directory
from .model import Address
from .valkey import Down, Valkey

#: Fields, in lower case, that say it of what a filter sends: two of each are enough to know.
NAMED_BY: Final = ("x-sieve-redirected-from", "from", "auto-submitted")
#: RFC 3834 5: what is answered automatically, whatever follows.
_ANSWER: Final = re.compile(r"auto-replied\b", re.IGNORECASE)


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


def of_filter(fields: Mapping[str, Sequence[str]], sender: Address | None) -> Address | None:
    """Whose filter made a mail: Dovecot names it first in what is sent on, and an answer is from the account."""
    redirected, from_, submitted = (fields.get(name, ()) for name in NAMED_BY)
    if redirected:
        return address(redirected[0])
    if sender is not None or len(from_) != 1 or not _ANSWER.match("".join(submitted)):
        return sender
    addresses = getaddresses(from_)
    return address(addresses[0][1]) if len(addresses) == 1 else None


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
