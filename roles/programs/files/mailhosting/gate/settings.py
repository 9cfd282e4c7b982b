# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the role gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sources:
    """The directory and Valkey: the part of the file that the operators' command needs."""

    directory: str  # libpq's connection string
    valkey_socket: str
    valkey_user: str
    valkey_password_file: str


@dataclass(frozen=True)
class QuarantinePlace(Sources):
    """The quarantine, and what a release of mail needs."""

    quarantine: str  # folder
    quarantine_lmtp_socket: str  # of Dovecot's service that runs no filter
    clamd_socket: str


@dataclass(frozen=True)
class Settings(QuarantinePlace):
    """The settings that roles/gate/defaults describes, as the module gate_settings has read it."""

    sockets: str
    texts: dict[str, list[Any]]  # code, enhanced status code or None, words
    send_limits: list[dict[str, Any]]
    receive_limits: list[dict[str, Any]]
    timezone: str
    message_size_limit: int
    scans: int  # how many mails an instance scans at once
    spool: str  # folder
    spool_size: int  # octets of all mails that an instance scans at a time
    quarantine_size: int  # octets of all files
