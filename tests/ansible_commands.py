# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of Ansible as from a shell, but faster; see ansible_starter.py."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile


class Ansible:
    """Runs commands one after the other.  `home`: an empty folder for the starter, which the first command starts."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._settings = b""
        self._commands: socket.socket | None = None

    def __call__(self, *command: str, environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run `command`, whose first word is a name like `ansible-playbook`, to its end."""
        settings = json.dumps({"environment": dict(environment), "folder": str(folder)}).encode()
        if self._commands is None or self._settings != settings:
            self._end_commands()
            self._commands, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                socket.send_fds(self._starter[0], [settings], [theirs.fileno()])
            self._settings = settings
        with Path(os.devnull).open() as nothing, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            request = json.dumps({"arguments": command}).encode()
            socket.send_fds(self._commands, [request], [file.fileno() for file in (nothing, out, err)])
            answer = self._commands.recv(100)
            assert answer, "it could not be started"
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, int(answer), out.read(), err.read())

    @cached_property
    def _starter(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        """The starter, and the socket to it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = [sys.executable, str(Path(__file__).with_name("ansible_starter.py")), str(theirs.fileno())]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._home), "LC_ALL": "C.UTF-8"}
        nothing = subprocess.DEVNULL
        with theirs:
            started = subprocess.Popen(
                program, pass_fds=[theirs.fileno()], env=environment, stdin=nothing, stdout=nothing
            )
        return ours, started

    def _end_commands(self) -> None:
        """End the processes that wait for commands."""
        if self._commands is not None:
            self._commands.close()
            self._commands = None

    def close(self) -> None:
        """End all processes; the next command starts them again."""
        self._end_commands()
        if starter := vars(self).pop("_starter", None):
            ours, started = starter
            ours.close()
            started.wait(60)
