# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting-password ADDRESS: set the password of an account; asks for it, or reads it from standard input.

Whoever is not root is asked for the old one first.  Standard input has one line each.
"""

import getpass
import json
import os
import socket
import sys

SOCKET = "/run/mailhosting/password.sock"


def ask(prompt: str) -> str:
    """A password, typed unseen or as the next line of standard input."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


def main() -> int:
    """Ask, send, and say how it went; the exit code."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    request = {"address": sys.argv[1]}
    if os.geteuid() != 0:
        request["old"] = ask("Old password: ")
    request["new"] = ask("New password: ")
    if sys.stdin.isatty() and ask("Once more: ") != request["new"]:
        print("these are two different passwords", file=sys.stderr)
        return 1
    try:
        with socket.socket(socket.AF_UNIX) as service:
            service.settimeout(30)
            service.connect(SOCKET)
            service.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(service.makefile("rb").readline() or b'{"ok": false, "error": "no answer"}')
    except OSError as error:
        print(f"{SOCKET}: {error}", file=sys.stderr)
        return 1
    if not answer["ok"]:
        print(answer["error"], file=sys.stderr)
        return 1
    if "warning" in answer:
        print(answer["warning"], file=sys.stderr)
    print(f"{sys.argv[1]}: the password is set")
    return 0


if __name__ == "__main__":
    sys.exit(main())
