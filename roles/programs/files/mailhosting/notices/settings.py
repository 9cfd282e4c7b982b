# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's settings."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.errors import SettingsError
from . import texts
from .mail import CHARSETS, Sender


@dataclass(frozen=True)
class Settings:
    """The settings that roles/notices/defaults describes.  Raises: SettingsError with a line for each mistake."""

    directory: str  # libpq's connection string
    hostname: str
    sender_name: str
    sender_address: str
    support_name: str
    support_address: str
    operator: str
    charset: str
    keep_days: int
    lmtp_socket: str
    texts: dict[str, str]

    def __post_init__(self) -> None:
        problems = [f"notices_texts: {problem}" for problem in texts.check(self.texts)]
        if self.charset not in CHARSETS:
            problems.append(f"notices_charset: {self.charset!r} is none of {', '.join(CHARSETS)}")
        addresses = {"sender_address": self.sender_address, "support_address": self.support_address}
        if self.operator:
            addresses["operator"] = self.operator
        problems += [
            f"notices_{name}: {address!r} is not an address"
            for name, address in addresses.items()
            if not _is_address(address)
        ]
        if problems:
            raise SettingsError("\n".join(problems))

    @property
    def sender(self) -> Sender:
        """The sender of notices."""
        return Sender(self.sender_name, self.sender_address)


def _is_address(text: str) -> bool:
    local_part, at, domain = text.rpartition("@")
    return bool(local_part and at and domain and text.isascii() and text.isprintable() and not set(text) & set(" <>,"))
