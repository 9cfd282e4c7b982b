# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Examines mails for the checks: one scanner per process, with the spools that it reads."""

from __future__ import annotations

from dataclasses import dataclass

from .scan.archives import Archives
from .scan.clamd import Clamd
from .scan.findings import Limits, Report
from .scan.reader import examine
from .spool import Spool, Spools


@dataclass(frozen=True)
class Scanner:
    """Safe for many threads."""

    spools: Spools
    clamd: Clamd
    archives: Archives

    def examine(self, spool: Spool, limits: Limits, deadline: float) -> Report:
        """What is in a mail, by `deadline` (time.monotonic()) at the latest.  Raises: ScannerError."""
        return examine(spool.file, limits, self.clamd, self.archives, deadline)
