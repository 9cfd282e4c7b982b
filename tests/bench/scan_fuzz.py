# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes messages and archives at random for 15 minutes, and scans them: nothing may raise anything but ScannerError.

Changed messages go through the whole scan, changed archives through the child.  What made a child die, or the scan
raise something, is kept in `.cache/fuzz/`, and the next run begins with it.  `SECONDS` in the environment is another
time.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Final

from common import CHECKOUT, Figure, at_most, publish

sys.path.insert(0, str(CHECKOUT / "roles" / "programs" / "files"))
sys.path.insert(0, str(CHECKOUT / "tests" / "samples"))
from mailhosting.common.errors import ScannerError
from mailhosting.gate.scan.archives import Member, Unpacker
from mailhosting.gate.scan.child import FORMATS
from mailhosting.gate.scan.content import Content
from mailhosting.gate.scan.findings import Limits
from mailhosting.gate.scan.reader import examine
from malformed import messages
from sample_archives import INFECTED, cpio, lzip, rar4, rar5, seven_zip, tar, zipped, zstd
from sample_lha import lha
from toy_scan import OneChild, ToyClamd

KEPT: Final = CHECKOUT / ".cache" / "fuzz"
SECONDS: Final = float(os.environ.get("SECONDS", "900"))
#: Mails before the child is another: on a host each has its own, and what libarchive leaks ends with it.
JOBS: Final = 20
LIMITS: Final = Limits(unpacked=1 << 24)
FILES: Final = {"a.txt": INFECTED, "b/c.txt": b"x" * 3000}
ARCHIVES: Final = [
    ("zip", zipped(FILES)),
    ("zip", zipped(FILES, 14)),
    ("rar", rar4(FILES)),
    ("rar", rar5(FILES)),
    ("7z", seven_zip("a", INFECTED)),
    ("tar", tar(FILES)),
    ("cpio", cpio(FILES)),
    ("lzip", lzip(INFECTED)),
    ("zstd", zstd(INFECTED)),
    *[("lha", lha("a.txt", INFECTED, "lh5", level)) for level in (0, 1, 2)],
]


def changed(octets: bytes, chance: random.Random) -> bytes:
    """The same with a few changes: octets, cut, doubled, and numbers that are at an edge."""
    result = bytearray(octets)
    for _change in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(result) + 1)
        length = chance.choice((1, 1, 2, 4, 8, 100))
        match chance.randrange(5):
            case 0:
                result[at : at + length] = chance.randbytes(length)
            case 1:
                result[at : at + length] = chance.choice((b"\0", b"\xff", b"\x7f")) * length
            case 2:
                del result[at : at + length]
            case 3:
                result[at:at] = result[at : at + length]
            case _:
                result[at : at + 1] = bytes([(result[at] + 1) % 256 if at < len(result) else 0])
    return bytes(result)


class Run:
    """What has been tried, and what came of it."""

    def __init__(self) -> None:
        self.archives = OneChild()
        self.tried = {"message": 0, "archive": 0}
        self.deferred = self.raised = 0

    def message(self, octets: bytes) -> None:
        """Scan a message."""
        self._try("message", octets, lambda: examine(io.BytesIO(octets), LIMITS, ToyClamd(), self.archives))

    def archive(self, archive_format: str, octets: bytes) -> None:
        """Unpack an archive."""

        def unpack() -> None:
            with self.archives.unpacker() as unpacker:
                read(unpacker, octets, archive_format)

        self._try("archive", octets, unpack)

    def stop(self) -> None:
        """End the child; the next job starts another."""
        with self.archives.unpacker() as unpacker:
            unpacker.stop()

    def _try(self, kind: str, octets: bytes, act: Callable[[], object]) -> None:
        self.tried[kind] += 1
        try:
            act()
        except ScannerError as error:
            self.deferred += 1
            keep(octets, f"deferred-{kind}", error)
        except Exception as error:  # noqa: BLE001 - that is what it looks for
            self.raised += 1
            keep(octets, f"raised-{kind}", error)


def read(unpacker: Unpacker, octets: bytes, archive_format: str) -> None:
    """Unpack all, up to a size."""
    size = 0
    for member in unpacker.unpack(Content(octets, 0, len(octets)), archive_format):
        for chunk in member.chunks if isinstance(member, Member) else ():
            size += len(chunk)
            if size > 1 << 24:
                unpacker.stop()
                return


def keep(octets: bytes, name: str, error: Exception) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{name}-{hashlib.sha256(octets).hexdigest()[:16]}"
    path.write_bytes(octets)
    print(f"{path}: {type(error).__name__}: {error}", flush=True)


def main() -> None:
    run, number, end = Run(), 0, time.monotonic() + SECONDS
    for path in sorted(KEPT.glob("*-message-*")) if KEPT.exists() else ():
        run.message(path.read_bytes())
    for path in sorted(KEPT.glob("*-archive-*")) if KEPT.exists() else ():
        for archive_format in FORMATS:
            run.archive(archive_format, path.read_bytes())
    first = time.time_ns()
    print(f"begins with {first}", flush=True)
    while time.monotonic() < end:
        chance = random.Random(first + number)  # noqa: S311
        number += 1
        for _name, octets in messages([first + number]):
            run.message(changed(octets, chance))
        if number % JOBS == 0:
            run.stop()
        for _time in range(4):
            archive_format, octets = chance.choice(ARCHIVES)
            run.archive(archive_format, changed(octets, chance))
    publish(
        "scan_fuzz",
        [
            Figure("messages", run.tried["message"], ""),
            Figure("archives", run.tried["archive"], ""),
            Figure("deferred, because the child died", run.deferred, ""),
            at_most("other exceptions", run.raised, "", 0),
        ],
    )
    run.stop()


if __name__ == "__main__":
    main()
