# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replies that the conversation accepts as a rejection."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as conversation

NAME = "password before TLS refused (587)"


@pytest.fixture
def submission(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`submission(reply)`: a server on 587 that gives this reply to AUTH."""
    replies = {"EHLO": "250 mx.example", "QUIT": "221 2.0.0 Bye"}

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 mx.example ESMTP\r\n")
            for line in self.rfile:
                self.wfile.write(f"{replies[line.split()[0].decode().upper()]}\r\n".encode())

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setitem(conversation.PORTS, "submission", server.server_address[1])
        monkeypatch.setitem(conversation.PORTS, "smtp", 1)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield lambda reply: replies.update(AUTH=reply)
        server.shutdown()


@pytest.mark.parametrize(
    ("reply", "cleartext_auth", "ok"),
    [
        ("530 5.7.0 Must issue a STARTTLS command first", False, True),
        ("503 5.5.1 Error: authentication not enabled", False, True),
        ("535 5.7.8 Error: authentication failed", False, False),
        ("535 5.7.8 Error: authentication failed", True, True),
        ("235 2.7.0 Authentication successful", True, False),
    ],
)
def test_a_password_in_clear_is_looked_at_only_where_a_plan_allows_it(
    submission: Callable[[str], None], reply: str, cleartext_auth: bool, ok: bool
) -> None:
    submission(reply)
    server = conversation.Server("127.0.0.1", conversation.TLSContext("mx.example"), timeout=5)
    steps = conversation.Conversation(server, (), cleartext_auth=cleartext_auth).steps()
    (step,) = [step for step in steps if step.name == NAME]
    assert step.ok is ok, step


@pytest.mark.parametrize(
    ("protocols", "ports"),
    [(("submission", "submissions"), {"587"}), (("submissions", "pop3"), {"465"}), (("pop3", "smtp"), set())],
)
def test_what_is_tried_after_a_login_is_tried_where_the_plan_has_one(
    submission: Callable[[str], None], protocols: tuple[str, ...], ports: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    submission("535 5.7.8 Error: authentication failed")
    monkeypatch.setattr(conversation, "PORTS", {**conversation.PORTS, "submission": 587, "submissions": 465})
    login = conversation.Login("taro@acme.example", "x")
    server = conversation.Server("127.0.0.1", conversation.TLSContext("mx.example"), timeout=0.1)
    steps = conversation.Conversation(server, protocols, login, login, delivery_timeout=0).steps()
    names = [step.name for step in steps if step.name.startswith(("forged", "wrong password"))]
    assert {name.rpartition("(")[2].rstrip(")") for name in names} == ports
    assert len(names) == 2 * len(ports)
