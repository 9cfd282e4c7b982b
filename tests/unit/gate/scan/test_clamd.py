# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real exchange with a socket that speaks as clamd does, or does not."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from mailhosting.common.errors import ScannerError
from mailhosting.gate.scan.clamd import STREAM_TOO_LONG, Clamd, classify
from mailhosting.gate.scan.findings import DEPTH, MACROS, MEMBERS, UNPACKED

Serve = Callable[[socket.socket], None]


def read_stream(connection: socket.socket) -> bytes:
    """What comes by zINSTREAM."""
    with connection.makefile("rb") as file:
        assert file.read(10) == b"zINSTREAM\0"
        content = b""
        while (length := struct.unpack(">I", file.read(4))[0]) != 0:
            content += file.read(length)
        return content


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Serve], Path]]:
    """Start a server that handles connections, one after the other, by a function."""
    listeners = []

    def begin(serve: Serve) -> Path:
        path = tmp_path / "clamd"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listeners.append(listener)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _address = listener.accept()
                    with connection:
                        serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        return path

    yield begin
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def replying(reply: bytes, got: list[bytes] | None = None) -> Serve:
    def serve(connection: socket.socket) -> None:
        content = read_stream(connection)
        if got is not None:
            got.append(content)
        connection.sendall(reply)

    return serve


def test_the_octets_reach_clamd_and_its_answer_comes_back(start: Callable[[Serve], Path]) -> None:
    got: list[bytes] = []
    clamd = Clamd(start(replying(b"stream: OK\0", got)))
    assert clamd.scan([b"one", b"", b"two"]) is None
    assert clamd.scan([]) is None
    assert got == [b"onetwo", b""]


def test_what_it_finds_is_named(start: Callable[[Serve], Path]) -> None:
    assert Clamd(start(replying(b"stream: Win.Test.EICAR_HDB-1 FOUND\0"))).scan([b"x"]) == "Win.Test.EICAR_HDB-1"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"stream: OK",
        b"\0",
        b"stream: Can't allocate memory ERROR\0",
        b"stream: Heuristics.Limits.Exceeded.MaxScanTime FOUND\0",
        b"COMMAND READ TIMED OUT\0",
        b"stream: OK but\0",
        b"UNKNOWN COMMAND\0",
        b"x" * 10_000,
    ],
)
def test_whatever_else_it_says_is_an_error(start: Callable[[Serve], Path], reply: bytes) -> None:
    with pytest.raises(ScannerError, match="clamd"):
        Clamd(start(replying(reply))).scan([b"x"])


def test_a_socket_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ScannerError, match=r"clamd at .*/gone"):
        Clamd(tmp_path / "gone").scan([b"x"])


def test_too_long_a_stream_is_a_limit_though_clamd_closes_while_it_comes(start: Callable[[Serve], Path]) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"INSTREAM size limit exceeded. ERROR\0")

    name = Clamd(start(serve)).scan(bytes(1 << 16) for _chunk in range(200))
    assert name == STREAM_TOO_LONG
    assert classify(STREAM_TOO_LONG) == ("limit", UNPACKED)


@pytest.mark.timing
def test_a_clamd_that_hangs_is_an_error_in_time(start: Callable[[Serve], Path]) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        time.sleep(5)

    path = start(serve)
    for chunks in ([b"x"], (bytes(1 << 20) for _chunk in range(20))):
        begun = time.monotonic()
        with pytest.raises(ScannerError, match="clamd at"):
            Clamd(path, seconds=0.5).scan(chunks)
        assert time.monotonic() - begun < 2
    begun = time.monotonic()
    with pytest.raises(ScannerError, match="clamd at"):
        Clamd(path, seconds=60).scan([b"x"], begun + 0.5)
    assert time.monotonic() - begun < 2


def test_no_more_scans_at_once_than_allowed(start: Callable[[Serve], Path]) -> None:
    held = threading.Event()

    def serve(connection: socket.socket) -> None:
        read_stream(connection)
        held.wait(10)
        connection.sendall(b"stream: OK\0")

    clamd = Clamd(start(serve), at_once=1)
    first = threading.Thread(target=clamd.scan, args=([b"x"],))
    first.start()
    while clamd._turns._value:
        time.sleep(0.01)
    with pytest.raises(ScannerError, match="no turn"):
        clamd.scan([b"x"], time.monotonic() + 0.1)
    held.set()
    first.join()
    assert clamd.scan([b"x"]) is None


@pytest.mark.parametrize(
    ("reply", "made"),
    [
        (b"ClamAV 1.4.3/27500/Mon Nov 24 09:12:01 2026\0", datetime(2026, 11, 24, 9, 12, 1)),  # noqa: DTZ001
        (b"ClamAV 1.4.3\0", None),
        (b"ClamAV 1.4.3/1/never\0", None),
    ],
)
def test_the_age_of_signatures(start: Callable[[Serve], Path], reply: bytes, made: datetime | None) -> None:
    def serve(connection: socket.socket) -> None:
        assert connection.recv(100) == b"zVERSION\0"
        connection.sendall(reply)

    found = Clamd(start(serve)).signatures_made()
    assert (found and found.replace(tzinfo=None)) == made


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("Eicar-Signature", ("virus", "Eicar-Signature")),
        ("Heuristics.Encrypted.Zip", ("encrypted", "Zip")),
        ("Heuristics.Limits.Exceeded.MaxScanSize", ("limit", UNPACKED)),
        ("Heuristics.Limits.Exceeded.MaxRecursion", ("limit", DEPTH)),
        ("Heuristics.Limits.Exceeded.MaxFiles", ("limit", MEMBERS)),
        ("Heuristics.Limits.Exceeded.MaxScanTime", ("limit", "Heuristics.Limits.Exceeded.MaxScanTime")),
        ("Heuristics.OLE2.ContainsMacros.VBA", ("file_type", MACROS)),
        ("Heuristics.Phishing.Email.SpoofedDomain", ("heuristic", "Heuristics.Phishing.Email.SpoofedDomain")),
        ("PUA.Win.Packer.Upx", ("heuristic", "PUA.Win.Packer.Upx")),
    ],
)
def test_only_signatures_of_viruses_are_viruses(signature: str, expected: tuple[str, str]) -> None:
    assert classify(signature) == expected
