# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the role policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """The settings that roles/policy/defaults describes."""

    directory: str  # libpq's connection string
    valkey_socket: str
    valkey_user: str
    pop_before_smtp: int  # seconds
    pop_before_smtp_senders: Literal["login", "tenant"]
