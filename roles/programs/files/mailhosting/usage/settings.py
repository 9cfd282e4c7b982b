# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the role usage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The settings that roles/usage/defaults describes."""

    directory: str  # libpq's connection string
    valkey_socket: str
    valkey_user: str
    mail_base: str
    collect: int  # seconds
    compare_at: str  # HH:MM
