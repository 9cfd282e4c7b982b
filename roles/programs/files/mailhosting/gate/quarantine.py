# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quarantine: originals that a scan took from their recipients, for as long as each tenant's plan says.

A folder has a file for each original, and the directory has its row and an entry for each account or tenant that it was
for.  The file comes before its row and goes after it, so a crash leaves a file without a row, which a sweep removes.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

from ..common.errors import DirectoryError
from .scan.findings import Finding

if TYPE_CHECKING:
    from .directory import Directory

LOG: Final = logging.getLogger(__name__)

#: `inbound`: kept for those who would have received it.  `outbound`: for those who sent it.
QuarantineDirection = Literal["inbound", "outbound"]

#: Seconds between two sweeps.
SWEEP_SECONDS: Final = 600
#: Seconds after which a file without a row is not one that is just being written.
ORPHAN_SECONDS: Final = 3600
#: The most characters of a text: a line of a message has 998 octets at most (RFC 5322 2.1.1).
_MOST: Final = 998


class QuarantineError(Exception):
    """The original cannot be kept now.  Its mail is to be deferred, so that nothing is lost."""


@dataclass(frozen=True)
class Holder:
    """Whom an original is kept for, and for how many seconds: an account, or a tenant (`account_id` is None).

    `recipient` is the address of the envelope that led there; of sent mail the first recipient.
    """

    tenant_id: int
    account_id: int | None
    recipient: str
    seconds: int


@dataclass(frozen=True)
class Original:
    """What people are shown of a mail that is kept.

    `sender` is the envelope's, empty for none; `subject` is the value of the header field as encoded; `policy` names
    what is done with the mail, such as `strip`.
    """

    queue_id: str
    direction: QuarantineDirection
    sender: str
    subject: str
    policy: str
    findings: tuple[Finding, ...]
    holders: tuple[Holder, ...]


class Quarantine:
    """A folder of at most `size` octets; the oldest originals go first.  Safe for many threads and processes."""

    def __init__(self, folder: Path, size: int, directory: Directory) -> None:
        self._folder: Final = folder
        self._size: Final = size
        self._directory: Final = directory

    def keep(self, spool: BinaryIO, about: Original) -> tuple[int, ...]:
        """Keep the mail in `spool` for those holders whose `seconds` are not 0; the ids of their entries.

        The file's position does not matter, and afterwards it is at the end.  On return the copy is on the disk.
        Raises: QuarantineError, DirectoryError.
        """
        holders = [holder for holder in about.holders if holder.seconds > 0]
        if not holders:
            return ()
        spool.seek(0, os.SEEK_END)
        octets = spool.tell()
        if octets > self._size:
            raise QuarantineError(f"{octets} octets are more than the quarantine may have, {self._size}")
        file = self._folder / secrets.token_hex(16)
        try:
            _copy(spool, file)
        except OSError as error:
            file.unlink(missing_ok=True)
            raise QuarantineError(f"the quarantine: {error.strerror or error}") from error
        try:
            ids, unneeded = self._directory.quarantine(
                file.name, octets, _facts(about), [_holder(holder) for holder in holders], self._size
            )
        except DirectoryError:
            # Whether there is a row is not known: if not, a sweep removes the file.
            LOG.warning("quarantine: %s was written, but perhaps not recorded", file.name)
            raise
        self._remove(unneeded)
        return tuple(ids)

    def drop(self, ids: Iterable[int]) -> None:
        """Forget entries, such as those of a mail that is deferred after all.  Raises: DirectoryError."""
        self._remove(self._directory.drop_quarantined(list(ids)))

    def sweep(self) -> None:
        """Remove what has expired, what was for accounts that are gone, and files without a row.

        Raises: DirectoryError, OSError.
        """
        files = self._directory.sweep_quarantine()
        gone = [file for file, is_gone in files.items() if is_gone]
        self._remove(gone)
        orphans = [
            path.name
            for path in self._folder.iterdir()
            if path.name not in files and path.stat().st_mtime < time.time() - ORPHAN_SECONDS
        ]
        self._remove(orphans)
        if gone or orphans:
            LOG.info("quarantine: removed %d mails, and %d files without one", len(gone), len(orphans))

    def sweep_on_and_on(self) -> None:
        """Sweep now and every SWEEP_SECONDS, in a thread that ends with the process."""
        threading.Thread(target=self._sweep_on_and_on, name="quarantine", daemon=True).start()

    def _sweep_on_and_on(self) -> None:
        while True:
            try:
                self.sweep()
            except (DirectoryError, OSError) as error:
                LOG.warning("quarantine: %s", error)
            time.sleep(SWEEP_SECONDS)

    def _remove(self, files: Iterable[str]) -> None:
        remove(self._folder, files)


def remove(folder: Path, files: Iterable[str]) -> None:
    """Remove files of the quarantine; a failure is logged, and the next sweep tries again."""
    for file in files:
        try:
            (folder / file).unlink(missing_ok=True)
        except OSError as error:
            LOG.warning("quarantine: %s stays: %s", file, error)


def _copy(spool: BinaryIO, file: Path) -> None:
    """Copy the mail to a new file on the disk.  Raises: OSError."""
    spool.seek(0)
    number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as copy:
        shutil.copyfileobj(spool, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
    # The name, too, survives a crash of the host.
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _facts(about: Original) -> dict[str, Any]:
    """The columns of an original's row."""
    findings = [
        {"kind": finding.kind, "name": _text(finding.name), "member": finding.member and _text(finding.member)}
        for finding in about.findings
    ]
    return {
        "queue_id": about.queue_id,
        "direction": about.direction,
        "sender": _text(about.sender),
        "subject": _text(about.subject.strip()),
        "policy": about.policy,
        "findings": findings,
    }


def _holder(holder: Holder) -> dict[str, Any]:
    return asdict(replace(holder, recipient=_text(holder.recipient)))


def _text(written: str) -> str:
    """A text from a mail as PostgreSQL takes it: valid UTF-8 without NUL, of bounded length."""
    return written.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "�")[:_MOST]
