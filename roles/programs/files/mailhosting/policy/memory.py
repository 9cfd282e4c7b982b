# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins in Valkey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..common.asynchronous import AsyncValkey
from ..common.valkey import sound, unexpected


@dataclass(frozen=True)
class Memory:
    """The recent logins in Valkey."""

    valkey: AsyncValkey

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of `keys`, None for a missing key.  Raises: ValkeyError."""
        (reply,) = await self.valkey.ask(("MGET", *keys))
        values = sound(reply)
        if not isinstance(values, list):
            raise unexpected(values)
        return values

    async def remember(self, values: Mapping[str, str], seconds: int) -> None:
        """Set each key to its value, until `seconds` after the time (Unix) that it begins with.

        Raises: ValkeyError.
        """
        commands = [
            ("SET", key, value, "EXAT", int(float(value.partition(" ")[0])) + seconds) for key, value in values.items()
        ]
        for reply in await self.valkey.ask(*commands):
            if sound(reply) != b"OK":
                raise unexpected(reply)
