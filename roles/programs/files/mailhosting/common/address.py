# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of envelopes and logins, as the directory has them."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: Postfix's recipient_delimiter.
DELIMITER: Final = "+"


class Address(NamedTuple):
    """A local part without quotes and extension, and a domain without a final dot; both in lower case."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"


def parse(written: str, delimiter: str = DELIMITER) -> Address | None:
    """An address of an envelope; None for a text that is not an address, such as the null sender.

    A login has no `delimiter`: "".  A character that no address has becomes one that a lookup in the directory accepts,
    so a catch-all still gets the mail.
    """
    text = written.strip().encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "\ufffd")
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    local_part, at, domain = text.rpartition("@")
    if len(local_part) > 1 and local_part.startswith('"') and local_part.endswith('"'):
        # RFC 5321 4.1.2: a backslash in it stands for the character after it.
        local_part = re.sub(r"\\(.)", r"\1", local_part[1:-1], flags=re.DOTALL)
    if delimiter:
        # Like Postfix: a local part that begins with the delimiter has no extension.
        local_part = local_part.partition(delimiter)[0] or local_part
    domain = domain.removesuffix(".")
    if not (at and local_part and domain):
        return None
    # No local part here has an @, and the directory splits an address at the first one.
    return Address(local_part.lower().replace("@", "\ufffd"), domain.lower())
