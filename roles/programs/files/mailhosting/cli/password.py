# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting password: set the password of an account."""

from __future__ import annotations

import argparse
import getpass
import json
import socket
import sys
from pathlib import Path
from typing import Any, Final

from . import host
from .host import Answer, CommandError, Commands, Host, NotHereError

#: Seconds for the service, which hashes, slowly by design, and ends sessions.
_PATIENCE: Final = 30

_TEXT: Final = """Set the password of an account.  The command asks for the password, or reads it from
standard input.  Users other than root give the old one first, in a line of its own.
All sessions that the old password opened end.

examples:
  mailhosting password taro@acme.example
  pwgen 16 1 | mailhosting password taro@acme.example
"""


def add_to(commands: Commands) -> None:
    """Add the subcommand."""
    parser = host.add(commands, "password", "set the password of an account", _TEXT)
    host.add_address(parser)
    host.add_json(parser)
    parser.set_defaults(run=_set)


def _set(options: argparse.Namespace, on: Host) -> Answer:
    """Ask for the password, and let the service set it.  Raises: CommandError."""
    if not on.password_socket.exists():
        raise NotHereError(
            f"{on.password_socket}: nobody listens. The role mailhosting.stack.password is not on this host, or "
            "`systemctl status mailhosting-password.socket` says why"
        )
    request = {"address": options.address}
    if not on.is_root:
        request["old"] = _ask("Old password: ")
    request["new"] = _ask("New password: ")
    if sys.stdin.isatty() and _ask("Once more: ") != request["new"]:
        raise CommandError("these are two different passwords")
    answer = _send(on.password_socket, request)
    if not answer["ok"]:
        raise CommandError(answer["error"])
    warnings = [answer["warning"]] if "warning" in answer else []
    data = {"address": options.address, "changed": True, "warning": answer.get("warning")}
    return Answer(data, [f"{options.address}: the password is set"], warnings)


def _ask(prompt: str) -> str:
    """A password, typed unseen or as the next line of standard input."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


def _send(path: Path, request: dict[str, str]) -> dict[str, Any]:
    """The service's answer.  Raises: CommandError."""
    try:
        with socket.socket(socket.AF_UNIX) as service:
            service.settimeout(_PATIENCE)
            service.connect(str(path))
            service.sendall(json.dumps(request).encode() + b"\n")
            line = service.makefile("rb").readline()
    except PermissionError as error:
        raise CommandError(f"{path}: {error.strerror}; this is for root and the socket's group") from error
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error
    answer: dict[str, Any] = json.loads(line or b'{"ok": false, "error": "no answer"}')
    return answer
