# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Valkey of the test run's own, on a unix socket."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from mailhosting.common.errors import ValkeyError
from mailhosting.common.valkey import Refusal, Reply, Valkey, Word

ROLE = Path(__file__).parents[3] / "roles" / "gate"


def gate_rules() -> str:
    """What the role lets the gate do: its scripts name all keys, their commands are held to the rest."""
    (user,) = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__gate_brings"]["valkey"]
    return str(user["rules"])


def _server() -> list[str | Path]:
    """The name to run it by and the program: Debian's tools are the server under another name."""
    for name in ("valkey", "redis"):
        for program in (f"{name}-server", f"{name}-check-rdb"):
            if found := shutil.which(program):
                return [f"{name}-server", found]
    pytest.exit("these tests need Valkey: apt install valkey-tools, on Debian 12 redis-tools", returncode=2)


@dataclass
class Server:
    """A server that runs; `path` is its socket."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def path(self) -> str:
        return str(self.folder / "socket")

    def start(self) -> None:
        name, program = _server()
        with (self.folder / "log").open("wb") as log:
            options: list[str | Path] = ["--port", "0", "--unixsocket", self.path, "--save", "", "--dir", self.folder]
            self.process = subprocess.Popen([name, *options], executable=program, stdout=log, stderr=log)
        for _attempt in range(300):
            try:
                self.ask("PING")
            except ValkeyError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
            else:
                self.ask("ACL", "SETUSER", "gate", "on", "nopass", "resetkeys", "-@all", *_words(gate_rules()))
                return
        pytest.fail(f"Valkey did not start: {(self.folder / 'log').read_text()}")

    def stop(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    @contextmanager
    def hung(self) -> Iterator[None]:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def ask(self, *command: Word) -> Reply:
        """What it answers who may do everything."""
        with closing(Valkey(self.path, "default")) as valkey:
            (reply,) = valkey.ask(command)
        assert not isinstance(reply, Refusal), reply
        return reply


def _words(rules: str) -> list[str]:
    """The rules one by one; what is in parentheses is one."""
    words: list[str] = []
    for word in rules.split():
        if words and words[-1].startswith("(") and not words[-1].endswith(")"):
            words[-1] += f" {word}"
        else:
            words.append(word)
    return words
