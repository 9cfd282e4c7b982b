# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands for clamd: it finds the test file at the beginning of what it gets, and opens nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import BinaryIO, Final, cast

from mailhosting.gate.scan.archives import Archives, Unpacker
from mailhosting.gate.scan.clamd import Clamd
from mailhosting.gate.scan.findings import Finding, Limits, Report
from mailhosting.gate.scan.reader import examine
from sample_archives import EICAR

VIRUS: Final = "Eicar-Test"


class ToyClamd(Clamd):
    """`scanned` is all that it got."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.scanned: Final[list[bytes]] = []

    def scan(self, chunks: Iterable[bytes], _deadline: float = inf) -> str | None:
        content = b"".join(chunks)
        self.scanned.append(content)
        return VIRUS if content.startswith(EICAR) else None


class OneChild(Archives):
    """Unpacks for one mail after the other in the same child."""

    def __init__(self) -> None:
        super().__init__()
        self._unpacker: Final = Unpacker(None, self._turns, time.monotonic() + 3600)

    @contextmanager
    def unpacker(self, _deadline: float = inf) -> Iterator[Unpacker]:
        yield self._unpacker


_ARCHIVES: Final = OneChild()


def report_on(message: bytes, limits: Limits = Limits(), clamd: Clamd | None = None) -> Report:  # noqa: B008 - frozen
    with tempfile.TemporaryFile() as spool:
        spool.write(message)
        return examine(cast("BinaryIO", spool), limits, clamd or ToyClamd(), _ARCHIVES)


def found(message: bytes, limits: Limits = Limits()) -> list[tuple[str, str, int]]:  # noqa: B008 - frozen
    """Kind, name and part of each finding."""
    return [named(finding) for finding in report_on(message, limits).findings]


def named(finding: Finding) -> tuple[str, str, int]:
    return finding.kind, finding.name, finding.part
