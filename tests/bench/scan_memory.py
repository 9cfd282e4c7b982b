# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of a scan, of the gate and its child together, for a mail of 20 MB with an archive of 15 MB, and for 20.

clamd is not measured: a server stands for it that takes all and finds nothing.
"""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final, cast

from common import CHECKOUT, Figure, at_most, publish

sys.path.insert(0, str(CHECKOUT / "roles" / "programs" / "files"))
sys.path.insert(0, str(CHECKOUT / "tests" / "samples"))
from mailhosting.gate.scan.archives import Archives
from mailhosting.gate.scan.clamd import Clamd
from mailhosting.gate.scan.findings import Limits
from mailhosting.gate.scan.reader import examine
from sample_archives import zipped
from sample_mail import TEXT, attached, multipart

ARCHIVE: Final = 15_000_000
AT_ONCE: Final = 20
#: Children that `Archives` starts at once unless told otherwise.
CHILDREN: Final = 2


def serve(listener: socket.socket) -> None:
    """Take whatever comes by zINSTREAM, and find nothing."""

    def answer(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            file.read(10)
            while (length := struct.unpack(">I", file.read(4))[0]) != 0:
                while length:
                    length -= len(file.read(min(length, 1 << 16)))
            connection.sendall(b"stream: OK\0")

    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def message() -> bytes:
    """A mail of 20 MB with a ZIP whose file does not shrink."""
    content = random.Random(1).randbytes(ARCHIVE)  # noqa: S311 - the same one each time
    return multipart(TEXT, attached(zipped({"a.bin": content})))


def children() -> list[int]:
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if path.read_text().rpartition(")")[2].split()[1] == str(os.getpid())
    ]


def proportional(pid: int) -> int:
    """Octets of a process's memory, with its part of what others have too."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


class Watch:
    """The most memory of this process and its children together, and the most children, while it watches."""

    def __init__(self) -> None:
        self.most = self.most_children = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            found = children()
            self.most = max(self.most, sum(map(proportional, [os.getpid(), *found])))
            self.most_children = max(self.most_children, len(found))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir=CHECKOUT / ".cache"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "clamd"))
    listener.listen(64)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    clamd, archives = Clamd(folder / "clamd"), Archives(folder, CHILDREN)
    with (folder / "mail").open("w+b") as spool:
        spool.write(message())
        size = spool.tell()

    def scan() -> None:
        with (folder / "mail").open("rb") as spool:
            assert examine(cast("BinaryIO", spool), Limits(), clamd, archives).findings == ()

    examine(io.BytesIO(b"Subject: x\r\n\r\nx"), Limits(), clamd, archives)
    begun = time.monotonic()
    with Watch() as one:
        scan()
    seconds = time.monotonic() - begun
    with Watch() as many, ThreadPoolExecutor(AT_ONCE) as pool:
        begun = time.monotonic()
        for done in [pool.submit(scan) for _mail in range(AT_ONCE)]:
            done.result()
        all_seconds = time.monotonic() - begun
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    publish(
        "scan_memory",
        [
            Figure("the mail", size / 1e6, "MB"),
            at_most("memory of gate and child for one mail", one.most / 1e6, "MB", 200),
            Figure("which takes", seconds, "s"),
            at_most(f"memory of gate and children for {AT_ONCE} at once", many.most / 1e6, "MB", 400),
            at_most("children at once", many.most_children, "", CHILDREN),
            at_most(f"{AT_ONCE} at once take", all_seconds, "s", 120),
        ],
    )


if __name__ == "__main__":
    main()
