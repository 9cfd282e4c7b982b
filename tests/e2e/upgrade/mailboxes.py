# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a mail program remembers of an account's mailboxes."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import cast

from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User

LINE = re.compile(rb'\d+ \(UID (\d+) FLAGS \((.*?)\) INTERNALDATE "(.*?)" RFC822\.SIZE (\d+)\)')
LISTED = re.compile(rb'\(.*?\) "(?:.|\\.)" (.+)')


@dataclass
class Account:
    """`validity` and `mails` by folder name as in IMAP; a mail by UID: its flags, date and size.

    `uidls`: POP3's unique ids of the inbox.
    """

    validity: dict[bytes, bytes] = field(default_factory=dict)
    mails: dict[bytes, dict[int, tuple[frozenset[bytes], bytes, int]]] = field(default_factory=dict)
    subscribed: set[bytes] = field(default_factory=set)
    uidls: list[bytes] = field(default_factory=list)


def read(server: Server, user: User) -> Account:
    """The mailboxes of `user`.

    Raises: imaplib.IMAP4.error, poplib.error_proto, OSError.
    """
    found = Account()
    with protocols.imap(server, "imaps") as session:
        session.login(*user)
        found.subscribed = {folder_name(line) for line in session.lsub()[1]}
        for line in session.list()[1]:
            folder = folder_name(line)
            # imaplib sends the name as given.
            session.select(folder.decode(), readonly=True)
            (found.validity[folder],) = cast("list[bytes]", session.response("UIDVALIDITY")[1])
            _status, lines = session.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE)")
            matches = [LINE.fullmatch(line) for line in lines if isinstance(line, bytes)]
            found.mails[folder] = {
                int(match[1]): (frozenset(match[2].split()) - {rb"\Recent"}, match[3], int(match[4]))
                for match in matches
                if match
            }
    with contextlib.closing(protocols.pop3(server, "pop3s")) as maildrop:
        maildrop.user(user.address)
        maildrop.pass_(user.password)
        found.uidls = [line.split()[1] for line in maildrop.uidl()[1]]
    return found


def folder_name(line: object) -> bytes:
    """The name in a line of LIST or LSUB."""
    match = LISTED.fullmatch(line) if isinstance(line, bytes) else None
    if not match:
        raise ValueError(line)
    return match[1]
