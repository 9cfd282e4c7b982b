# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program's package is found where the role has it, and a Valkey of the test run's own runs."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[3] / "roles" / "gate" / "files"))


def _server() -> tuple[str, str]:
    """The name to run it by and the program: Debian's tools are the server under another name."""
    for name in ("valkey", "redis"):
        for program in (f"{name}-server", f"{name}-check-rdb"):
            if found := shutil.which(program):
                return f"{name}-server", found
    pytest.exit("these tests need Valkey: apt install valkey-tools, on Debian 12 redis-tools", returncode=2)


class Client:
    """Asks over one connection."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._answers = self._socket.makefile("rb")

    def close(self) -> None:
        self._answers.close()
        self._socket.close()

    def ask(self, *commands: Sequence[str | int]) -> list[Any]:
        for command in commands:
            words = [str(word).encode() for word in command]
            line = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
            self._socket.sendall(b"*%d\r\n%b" % (len(words), line))
        return [self._answer() for _command in commands]

    def _answer(self) -> Any:
        line = self._answers.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b":":
            return int(rest)
        if kind == b"*":
            return [self._answer() for _number in range(int(rest))]
        if kind == b"$":
            return None if rest == b"-1" else self._answers.read(int(rest) + 2)[:-2]
        return rest if kind == b"+" else rest.decode()


@pytest.fixture(scope="session")
def socket_path() -> Iterator[str]:
    name, program = _server()
    folder = Path(tempfile.mkdtemp(prefix="mhvk"))
    path = folder / "socket"
    options = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
    with subprocess.Popen([name, *options], executable=program, stdout=subprocess.DEVNULL) as server:
        for _attempt in range(300):
            if path.exists():
                break
            time.sleep(0.02)
        yield str(path)
        server.kill()
    shutil.rmtree(folder)


@pytest.fixture
def valkey(socket_path: str) -> Iterator[Client]:
    """An empty one."""
    with closing(Client(socket_path)) as client:
        client.ask(["FLUSHALL"])
        yield client
