# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Dovecot's LMTP: takes mail, or answers as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer


class Mailboxes(ThreadingUnixStreamServer):
    """`delivered`: sender, recipient and content of each mail, as the commands had them.

    `replies` are other replies than the usual, by command, or by `.` for the end of the data.
    """

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.delivered: list[tuple[str, str, bytes]] = []
        self.replies: dict[str, str] = {}
        super().__init__(str(path), _Handler)


class _Handler(StreamRequestHandler):
    server: Mailboxes

    def handle(self) -> None:
        self._say("220 here")
        sender = recipient = ""
        for line in self.rfile:
            command = line.decode("ascii").strip()
            word = command.split(" ")[0].upper()
            if word == "MAIL":
                sender = command.removeprefix("MAIL FROM:").removesuffix(" BODY=8BITMIME")
            elif word == "RCPT":
                recipient = command.removeprefix("RCPT TO:")
            reply = self.server.replies.get(word, "354 go on" if word == "DATA" else "250 8BITMIME")
            self._say(reply)
            if reply.startswith("354"):
                mail = self._data()
                reply = self.server.replies.get(".", "250 saved")
                if reply.startswith("250"):
                    self.server.delivered.append((sender, recipient, mail))
                self._say(reply)

    def _data(self) -> bytes:
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            lines.append(line.removeprefix(b"."))
        return b"".join(lines)

    def _say(self, reply: str) -> None:
        self.wfile.write(f"{reply}\r\n".encode())


@contextmanager
def mailboxes(path: Path) -> Iterator[Mailboxes]:
    """One that runs."""
    with Mailboxes(path) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
