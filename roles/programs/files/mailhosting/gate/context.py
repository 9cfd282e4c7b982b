# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all mails of a process have in common: connections, reply texts, limits of the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo

from ..common.errors import DirectoryError
from ..common.valkey import Valkey
from .counters import Counters
from .decision_log import About, write
from .directory import Directory
from .model import TRY_LATER, Direction, Limit, Reply
from .outbreak import OutbreakGuard
from .quarantine import Quarantine
from .scan.findings import CONTENT, UNPACKED, Finding, Kind
from .scanner import Scanner


@dataclass(frozen=True)
class Texts:
    """The replies that an operator may word."""

    message_size: Reply
    limit: Reply
    full: Reply
    bulk_mail: Reply
    invalid_recipients: Reply
    virus: Reply
    suspicious: Reply
    encrypted: Reply
    unreadable: Reply
    partial: Reply
    file_type: Reply
    unpacked_size: Reply
    content_size: Reply
    structure: Reply

    def of_block(self, kind: str) -> Reply:
        """The reply to mail that is blocked for this reason."""
        return self.invalid_recipients if kind == "invalid_recipients" else self.bulk_mail

    def of_finding(self, finding: Finding) -> Reply:
        """The reply to mail that is rejected for what a scan has found."""
        if finding.kind == "limit":
            return {UNPACKED: self.unpacked_size, CONTENT: self.content_size}.get(finding.name, self.structure)
        replies: dict[Kind, Reply] = {
            "virus": self.virus,
            "heuristic": self.suspicious,
            "encrypted": self.encrypted,
            "unreadable": self.unreadable,
            "partial": self.partial,
            "file_type": self.file_type,
        }
        return replies[finding.kind]


@dataclass(frozen=True)
class Gate:
    """One per process.  `zone` is that of the dates it writes, `message_size_limit` (octets) of plans without one.

    Without a `quarantine` nothing can be kept, and without a `scanner` mail that should be scanned is deferred.
    """

    directory: Directory
    valkey: Valkey
    counters: Counters
    texts: Texts
    host_limits: Mapping[Direction, tuple[Limit, ...]]
    zone: tzinfo = UTC
    message_size_limit: int | None = None
    quarantine: Quarantine | None = None
    scanner: Scanner | None = None
    outbreak: OutbreakGuard | None = None

    def may_log_in(self, client: str) -> Reply | None:
        """The reply to a client that wants to log in while the directory is away.

        Without it Dovecot cannot check the password, and Postfix would answer 535, that the password is wrong.
        """
        try:
            self.directory.ping()
        except DirectoryError as error:
            write("defer", f"no logins: {error}", About(client=client), code=TRY_LATER.code)
            return TRY_LATER
        return None
