# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the variables of the role gate.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ..module_utils._directory.former_names import GATE_TEXTS
from ..module_utils._directory.plan_syntax import host_limits, mapping
from ..module_utils._directory.syntax import shown

#: The gate's replies to clients unless `gate_texts` has others: a code and what follows.
TEXTS: Final = {
    "message_size": "552 sorry, that message size exceeds my databytes limit (#5.3.4)",
    "limit": "423 sorry, that message exceeds my limit",
    "full": "452 sorry, mailbox is full (#4.5.2)",
    "bulk_mail": "550 sorry, your mail looks like a mass mailing; please ask your provider",
    "invalid_recipients": "550 sorry, too many of your recipients do not exist; please ask your provider",
    "virus": "550 5.7.1 sorry, your mail contains a virus",
    "suspicious": "550 5.7.1 sorry, your mail looks as if it contained a virus",
    "encrypted": "550 5.7.1 sorry, I take no files that need a password, because I cannot check them",
    "unreadable": "550 5.7.1 sorry, your mail has an archive that I cannot open to check it",
    "partial": "550 5.7.1 sorry, I take no parts of a divided mail, because I cannot check them",
    "file_type": "550 5.7.1 sorry, I take no programs and no documents with macros",
    "unpacked_size": "552 5.3.4 sorry, an attachment is too large when it is unpacked",
    "content_size": "552 5.3.4 sorry, text and attachments are too large together",
    "structure": "552 5.3.4 sorry, your mail has too many parts or files, or they are nested too deeply",
}

#: RFC 5321 4.2: the code of a rejection, perhaps an enhanced status code (RFC 3463 2), and words in printable ASCII.
_REPLY: Final = re.compile(r"([45][0-5][0-9]) (?:([245]\.[0-9]{1,3}\.[0-9]{1,3}) )?([!-~][ -~]*)\Z")
#: RFC 5321 4.5.3.1.5: a line of a reply has 512 octets, CRLF included.
_LONGEST: Final = 510


def read(texts: object, send_limits: object, receive_limits: object) -> dict[str, Any]:
    """The program's settings: `texts` by name, each [code, enhanced code or None, words], and both lists of limits.

    Raises: ValueError with the variable, its fault, and what is allowed.
    """
    return {
        "texts": _texts(texts),
        "send_limits": _limits("gate_send_limits", "send", send_limits),
        "receive_limits": _limits("gate_receive_limits", "receive", receive_limits),
    }


def _texts(value: object) -> dict[str, list[str | None]]:
    try:
        written = mapping({} if value is None else value, tuple(TEXTS), GATE_TEXTS)
        return {name: _reply(name, written.get(name, text)) for name, text in TEXTS.items()}
    except ValueError as error:
        raise ValueError(f"gate_texts: {error}") from None


def _reply(name: str, text: object) -> list[str | None]:
    found = _REPLY.match(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(
            f"{name}: {shown(text)} is not a refusal: a code, 4 or 5 first, perhaps an enhanced status code, and words "
            f'in printable ASCII, such as "{TEXTS[name]}"'
        )
    code, enhanced, words = found.groups()
    if enhanced and enhanced[0] != code[0]:
        raise ValueError(f"{name}: {shown(text)}: {code} and {enhanced} contradict each other; the first digit is one")
    if len(found[0]) > _LONGEST:
        raise ValueError(f"{name}: {shown(text)} is too long: {_LONGEST} characters at most")
    return [code, enhanced, words]


def _limits(variable: str, direction: str, value: object) -> list[dict[str, Any]]:
    try:
        return host_limits(direction, value)
    except ValueError as error:
        raise ValueError(f"{variable}{error}") from None
