# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that unpacks: what it cannot do, and what becomes of a mail when it dies."""

from __future__ import annotations

import fcntl
import lzma
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from mailhosting.common.errors import ScannerError
from mailhosting.gate.scan.archives import Archives, Member, Unpacker
from mailhosting.gate.scan.content import Content
from sample_archives import rar5, tar, zipped

START = Path(__file__).resolve().parents[4] / "roles/programs/files/start.py"


@contextmanager
def content_of(octets: bytes) -> Iterator[Content]:
    with tempfile.TemporaryFile() as file:
        file.write(octets)
        yield Content.whole(cast("BinaryIO", file))


def unpacked(unpacker: Unpacker, octets: bytes, archive_format: str) -> list[tuple[bytes, bytes]]:
    with content_of(octets) as content:
        return [
            (member.name, b"".join(member.chunks)) if isinstance(member, Member) else (b"", member.encode())
            for member in unpacker.unpack(content, archive_format)
        ]


def child_of(unpacker: Unpacker) -> subprocess.Popen[bytes]:
    assert unpacker._child is not None
    return unpacker._child


def test_one_child_unpacks_one_archive_after_the_other() -> None:
    with Archives().unpacker() as unpacker:
        assert unpacker._child is None
        assert unpacked(unpacker, zipped({"a": b"one", "b/c": b"x" * 200_000}), "zip") == [
            (b"a", b"one"),
            (b"b/c", b"x" * 200_000),
        ]
        child = child_of(unpacker)
        assert unpacked(unpacker, rar5({"a": b"two"}), "rar") == [(b"a", b"two")]
        assert unpacked(unpacker, b"no zip" * 100, "zip") == [(b"", b"bad")]
        assert child_of(unpacker) is child
    assert child.poll() is not None


def test_what_is_not_read_of_a_member_is_passed_over() -> None:
    with Archives().unpacker() as unpacker, content_of(tar({"a": b"x" * 300_000, "b": b"y"})) as content:
        members = [member.name for member in unpacker.unpack(content, "tar") if isinstance(member, Member)]
        assert members == [b"a", b"b"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGXCPU, signal.SIGSEGV])
def test_a_child_that_dies_defers_the_mail_and_the_next_mail_gets_another(number: signal.Signals) -> None:
    archives = Archives(at_once=1)
    with archives.unpacker() as unpacker:
        unpacked(unpacker, zipped({"a": b"x"}), "zip")
        child_of(unpacker).send_signal(number)
        with pytest.raises(ScannerError, match="child"):
            unpacked(unpacker, zipped({"a": b"x"}), "zip")
    with archives.unpacker() as unpacker:
        assert unpacked(unpacker, zipped({"a": b"x"}), "zip") == [(b"a", b"x")]


@pytest.mark.timing
def test_a_child_that_hangs_defers_the_mail_in_time() -> None:
    begun = time.monotonic()
    with Archives().unpacker(begun + 2) as unpacker:
        unpacked(unpacker, zipped({"a": b"x"}), "zip")
        child_of(unpacker).send_signal(signal.SIGSTOP)
        with pytest.raises(ScannerError, match="in time"):
            unpacked(unpacker, zipped({"a": b"x"}), "zip")
    assert time.monotonic() - begun < 4


def test_no_more_children_at_once_than_allowed() -> None:
    archives = Archives(at_once=1)
    with archives.unpacker() as first, archives.unpacker(time.monotonic() + 0.2) as second:
        unpacked(first, zipped({"a": b"x"}), "zip")
        with pytest.raises(ScannerError, match="no turn"):
            unpacked(second, zipped({"a": b"x"}), "zip")
    results: list[object] = []

    def one_more() -> None:
        with archives.unpacker() as unpacker:
            results.append(unpacked(unpacker, zipped({"a": b"x"}), "zip"))

    threads = [threading.Thread(target=one_more) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[(b"a", b"x")]] * 4


def test_an_archive_that_needs_too_much_memory_is_a_limit() -> None:
    packed = bytearray(lzma.compress(b"x" * 1000))
    # In the header of the block, the size of the dictionary: 512 MB; and its checksum.
    packed[16] = 34
    packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, "little")
    with Archives().unpacker() as unpacker:
        assert (b"", b"memory") in unpacked(unpacker, bytes(packed), "xz")
        assert unpacked(unpacker, zipped({"a": b"x"}), "zip") == [(b"a", b"x")]


CONFINED = """
import ctypes, os, socket, sys
from mailhosting.gate.scan.confinement import confine
there = os.open("/proc/self/exe", os.O_RDONLY)
out = os.open(sys.argv[1], os.O_RDWR)
confine()
def fork():
    if os.fork() == 0:
        os._exit(0)
ACTS = {
    "open": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "create": lambda: os.open("/tmp/confined", os.O_CREAT | os.O_WRONLY),
    "write": lambda: os.write(out, b"x"),
    "connect": lambda: socket.socket(socket.AF_UNIX).connect("/run/x"),
    "network": lambda: socket.socket(socket.AF_INET),
    "fork": fork,
    "execute": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(os.getppid(), 0),
    "remove": lambda: os.unlink(sys.argv[1]),
    "memory": lambda: bytearray(1 << 30),
    "trace": lambda: ctypes.CDLL(None).ptrace(0, 0, 0, 0) and os.open("x", 0),
}
try:
    ACTS[sys.argv[2]]()
except (OSError, MemoryError) as error:
    os.write(1, f"{type(error).__name__} {getattr(error, 'errno', '')}".encode())
else:
    os.write(1, b"done")
"""


@pytest.mark.parametrize(
    "act", ["connect", "create", "execute", "fork", "kill", "memory", "network", "open", "remove", "trace", "write"]
)
def test_the_process_can_do_nothing_else(act: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"as it was")
    program = f"import sys; sys.path.insert(0, {str(START.parent)!r})\n{CONFINED}"
    command = [sys.executable, "-I", "-c", program, str(file), act]
    process = subprocess.run(command, capture_output=True, check=False, timeout=60)
    # A write beyond RLIMIT_FSIZE ends a process that does not ignore the signal; Python ignores it.
    expected = {"memory": b"MemoryError ", "write": b"OSError 27"}.get(act, b"PermissionError 1")
    assert (process.stdout, process.stderr) == (expected, b"")
    assert file.read_bytes() == b"as it was"


def test_the_child_has_nothing_of_the_gate_but_its_socket() -> None:
    secret, other = os.pipe()
    os.set_inheritable(secret, True)
    with Archives().unpacker() as unpacker:
        unpacked(unpacker, zipped({"a": b"x"}), "zip")
        process = Path(f"/proc/{child_of(unpacker).pid}")
        # Standard input, output and errors; what it got for a job is closed again.
        assert sorted(int(entry.name) for entry in (process / "fd").iterdir()) == [0, 1, 2]
        assert (process / "environ").read_bytes() == b""
    os.close(secret)
    os.close(other)


def test_a_descriptor_that_the_child_gets_is_only_for_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    copy: Callable[[Content, Path | None], int] = Content.copy

    def copied(content: Content, folder: Path | None) -> int:
        descriptor = copy(content, folder)
        given.append(fcntl.fcntl(descriptor, fcntl.F_GETFL))
        return descriptor

    monkeypatch.setattr(Content, "copy", copied)
    with Archives().unpacker() as unpacker:
        unpacked(unpacker, zipped({"a": bytes(1 << 19)}, 0), "zip")
        unpacked(unpacker, zipped({"a": b"x"}, 0), "zip")
    assert [flags & os.O_ACCMODE for flags in given] == [os.O_RDONLY] * 2
