# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rest of the Internet for the host under test: one mail server that accepts everything."""

from __future__ import annotations

import re
import socketserver
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cached_property

from .clients import until


@dataclass(frozen=True)
class Delivered:
    """One mail as it came over the wire."""

    sender: str
    recipients: list[str]
    content: bytes

    @cached_property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


class _Session(socketserver.StreamRequestHandler):
    """RFC 5321 as far as Postfix needs it; a recipient `refused@…` is unknown."""

    server: Outside

    def handle(self) -> None:
        sender, recipients = "", list[str]()
        self.reply("220 outside.example ESMTP")
        while line := self.rfile.readline():
            verb, address = line[:4].upper(), re.search(rb"<(.*?)>", line)
            if verb == b"EHLO":
                self.reply("250-outside.example\r\n250 8BITMIME")
            elif verb == b"MAIL":
                sender, recipients = address[1].decode() if address else "", []
                self.reply("250 2.1.0 Ok")
            elif verb == b"RCPT" and address and address[1].startswith(b"refused@"):
                self.reply("550 5.1.1 No such user")
            elif verb == b"RCPT" and address:
                recipients.append(address[1].decode())
                self.reply("250 2.1.5 Ok")
            elif verb == b"DATA":
                self.reply("354 Go ahead" if recipients else "554 5.5.1 No valid recipients")
                if recipients:
                    self.server.mails.append(Delivered(sender, recipients, self.read_mail()))
                    self.reply("250 2.0.0 Ok")
            elif verb == b"QUIT":
                self.reply("221 2.0.0 Bye")
                return
            else:
                self.reply("250 2.0.0 Ok")

    def read_mail(self) -> bytes:
        lines = iter(self.rfile.readline, b".\r\n")
        return b"".join(line.removeprefix(b".") if line.startswith(b"..") else line for line in lines)

    def reply(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@dataclass(eq=False)
class Outside(socketserver.ThreadingTCPServer):
    """Listens on a port of its own inside a `with` block."""

    mails: list[Delivered] = field(default_factory=list)
    daemon_threads = True

    def __post_init__(self) -> None:
        super().__init__(("", 0), _Session)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def __enter__(self) -> Outside:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.shutdown()
        self.server_close()

    def mails_to(self, recipient: str) -> list[Delivered]:
        return [mail for mail in list(self.mails) if recipient in mail.recipients]

    def mail_to(self, recipient: str, timeout: float = 20) -> Delivered:
        """Wait for the first mail to `recipient`; returns it."""
        assert until(lambda: bool(self.mails_to(recipient)), timeout), f"nothing came to {recipient}"
        return self.mails_to(recipient)[0]
