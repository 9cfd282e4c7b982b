# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A notice as a mail: RFC 5322, 2045 and 2047, in UTF-8 or, for old mail programs, ISO-2022-JP (RFC 1468)."""

from __future__ import annotations

from datetime import datetime
from email.header import Header
from email.utils import format_datetime, formataddr
from typing import Final, NamedTuple

from .texts import Text

UTF_8: Final = "utf-8"
ISO_2022_JP: Final = "iso-2022-jp"
CHARSETS: Final = (UTF_8, ISO_2022_JP)

#: Replacements from JIS X 0208, which has one dash; decoders show it as U+2014 or U+2015.
_JIS: Final = str.maketrans("–—～－", "――〜−")


class Sender(NamedTuple):
    """The sender of notices."""

    name: str
    address: str


def compose(text: Text, sender: Sender, recipient: str, message_id: str, moment: datetime, charset: str) -> bytes:
    """The mail, its lines ending with CRLF; in UTF-8 if `charset` lacks one of its characters."""
    used, text = _in_charset(text, charset)
    subject = text.subject if text.subject.isascii() else Header(text.subject, used, header_name="Subject").encode()
    headers = [
        f"From: {formataddr(sender, used)}",
        f"To: {recipient}",
        f"Subject: {subject}",
        f"Date: {format_datetime(moment)}",
        f"Message-ID: <{message_id}>",
        # RFC 3834: no automatic reply answers it.
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f"Content-Type: text/plain; charset={used}",
        f"Content-Transfer-Encoding: {'8bit' if used == UTF_8 else '7bit'}",
    ]
    head = "\n".join(headers).encode("ascii")
    return (head + b"\n\n" + text.body.encode(used)).replace(b"\n", b"\r\n")


def _in_charset(text: Text, charset: str) -> tuple[str, Text]:
    if charset == ISO_2022_JP:
        replaced = Text(text.subject.translate(_JIS), text.body.translate(_JIS))
        try:
            "".join(replaced).encode(charset)
        except UnicodeEncodeError:
            return UTF_8, text
        return charset, replaced
    return UTF_8, text
