# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a mail is: of the login, of the host's own user, of the POP login that lets a client relay, of a filter.

Every function raises DirectoryError, but for the two that ask nothing.
"""

from __future__ import annotations

from typing import Final

from ..common import keys
from ..common.address import Address, parse
from ..common.errors import ValkeyError
from ..common.valkey import Valkey
from .directory import Directory
from .fields import REDIRECTED_FROM
from .mail import OWN_LISTENER, Mail
from .model import Owner

#: A field, in lower case, that says of what a filter sends that it is an answer (RFC 3834 5); REDIRECTED_FROM says who
#: sends it on. Dovecot writes them before what others say, in what is sent on or by `vacation :mime`, so the first of
#: them counts.
_SUBMITTED: Final = "auto-submitted"


def at_mail(directory: Directory, mail: Mail) -> Owner | None:
    """Whose a mail is when it begins: the login's, or the sender's if the host itself hands it in (sendmail)."""
    if mail.login is not None:
        return _owner(directory, parse(mail.login, delimiter=""))
    return None if mail.listener in ("smtp", OWN_LISTENER) else _owner(directory, mail.sender)


def at_relaying(directory: Directory, valkey: Valkey, mail: Mail) -> Owner | None:
    """Whose a mail is that a client without a login relays: the POP login's that lets it relay."""
    return _owner(directory, _pop_login(directory, valkey, mail.client, mail.sender))


def at_end(directory: Directory, mail: Mail) -> Owner | None:
    """Whose a mail is when it has come: a filter's mail says so only in its header, and a login may have ended."""
    if mail.listener == OWN_LISTENER:
        return _owner(directory, _of_filter(mail.filter_field, mail.sender))
    return mail.owner if mail.login is None else _owner(directory, parse(mail.login, delimiter=""))


def says_whose(name: str) -> bool:
    """Whether a header field of this name (in lower case) says whose filter made a mail."""
    return name in (REDIRECTED_FROM, _SUBMITTED)


def is_answer(first: tuple[str, str] | None) -> bool:
    """Whether a filter's mail is an answer, which leaves without a sender (RFC 5230 5.1)."""
    return first is not None and first[0] == _SUBMITTED and first[1].lower().startswith("auto-replied")


def _owner(directory: Directory, address: Address | None) -> Owner | None:
    return directory.owner(address) if address else None


def _pop_login(directory: Directory, valkey: Valkey, client: str, sender: Address | None) -> Address | None:
    """The POP login that lets a client relay; the sender where Valkey cannot tell which one that was."""
    usernames = directory.relay_logins(sender) if sender else []
    logins = [keys.login(client, username) for username in usernames]
    try:
        (values,) = valkey.ask(("MGET", *logins)) if logins else ([],)
    except ValkeyError:
        return sender
    if isinstance(values, list):
        for username, value in zip(usernames, values, strict=False):
            if isinstance(value, bytes):
                # @ and a domain is whoever its value names after the time.
                who = value.decode("utf-8", "surrogateescape").partition(" ")[2]
                return parse(who or username, delimiter="")
    return sender


def _of_filter(first: tuple[str, str] | None, sender: Address | None) -> Address | None:
    """Who sends a mail on or, of an answer, the sender of its envelope.

    Not who an answer is from: a filter may say that of anybody (`vacation :from`).
    """
    return parse(first[1]) if first and first[0] == REDIRECTED_FROM else sender
