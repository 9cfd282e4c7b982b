# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Postfix's SMTP access policy delegation protocol (SMTPD_POLICY_README): one request, one answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Bytes of a request at most.  Postfix limits each of its 30-odd attributes to about 2 KiB.
MAX_REQUEST: Final = 64 * 1024

#: The attributes of a request by name.
Request = Mapping[str, str]


class MalformedRequestError(ValueError):
    """The data is not a valid request; the text has the reason."""


def parse(block: bytes) -> dict[str, str]:
    """Read a request, which ends with an empty line; a later attribute of the same name counts.

    Bytes that are not UTF-8 become lone surrogates.

    Raises: MalformedRequestError unless every line is `name=value` and it is a request for an access decision.
    """
    if not block.endswith(b"\n\n") and block != b"\n":
        raise MalformedRequestError("it does not end with an empty line")
    attributes: dict[str, str] = {}
    for line in block.decode("utf-8", "surrogateescape").split("\n")[:-2]:
        name, equals, value = line.partition("=")
        if not (name and equals) or "\0" in line:
            raise MalformedRequestError(f"{line[:60]!r} is not name=value")
        attributes[name] = value
    if attributes.get("request") != "smtpd_access_policy":
        raise MalformedRequestError(f"request is {attributes.get('request', '')[:60]!r}, not smtpd_access_policy")
    return attributes


def render(action: str) -> bytes:
    """An answer; `action` is one of access(5)."""
    return f"action={action}\n\n".encode("utf-8", "surrogateescape")
