# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""While the directory is away, or after that, no right password is called wrong: logins wait or fail temporarily."""

from __future__ import annotations

import base64
import itertools
import smtplib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import LoginRefusedError, User, log_in
from ..conftest import HUNG_UP_ON

pytestmark = HUNG_UP_ON

LOGINS = ["submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve"]
RESTART = "systemctl reset-failed postgresql@17-main && systemctl restart postgresql@17-main"
BREAK = (
    "runuser -u postgres -- psql --quiet --command='SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid()'"
)
#: Seconds after which Dovecot connects again where it could not.
RECONNECT_SECONDS = 1.5
#: Words that mail programs take for a wrong password.
WRONG = ("(535", "AUTHENTICATIONFAILED", "[AUTH]", "Authentication failed")


def said(log_in_once: Callable[[], None]) -> str:
    """The result of a login: empty, or the words of its rejection."""
    try:
        log_in_once()
    except (LoginRefusedError, OSError, smtplib.SMTPException) as error:
        return repr(error)
    return ""


def refusals(server: Server, user: User, each: int) -> list[str]:
    """The rejections among so many logins by every protocol at the same time."""
    names = LOGINS * each
    with ThreadPoolExecutor(len(names)) as clients:
        words = list(clients.map(lambda name: said(partial(log_in, server, name, user)), names))
    return [f"{name}: {refusal}" for name, refusal in zip(names, words, strict=True) if refusal]


def test_who_is_wrong_is_told_so_in_these_words(server: Server) -> None:
    nobody = User("nobody@bolt.example", "not a password")
    for protocol in ("submission", "imaps", "pop3s", "sieve"):
        words = said(partial(log_in, server, protocol, nobody))
        assert any(word in words for word in WRONG), (protocol, words)


def test_no_right_password_is_refused_after_connections_to_the_directory_broke(
    server: Server, host: testinfra.host.Host, bill: User
) -> None:
    """Each time more connections of Dovecot's processes are broken."""
    for breaks in (RESTART, BREAK):
        assert refusals(server, bill, 2) == []
        # A process that connected while the restart began answers temporarily, until Dovecot lets it connect again.
        time.sleep(RECONNECT_SECONDS)
        host.check_output(breaks)
    assert refusals(server, bill, 2) == []


def test_whoever_logs_in_during_a_restart_is_let_in_or_put_off(
    server: Server, host: testinfra.host.Host, bill: User
) -> None:
    over = threading.Event()

    def keep_logging_in(protocol: str) -> Iterator[str]:
        for attempt in itertools.count():
            if attempt and over.wait(0.1):
                return
            yield said(partial(log_in, server, protocol, bill))

    with ThreadPoolExecutor(len(LOGINS)) as clients:
        came_to = [clients.submit(list, keep_logging_in(name)) for name in LOGINS]
        host.check_output(f"{RESTART}; sleep 1; {RESTART}")
        over.set()
    for protocol, words in zip(LOGINS, (future.result() for future in came_to), strict=True):
        assert len(words) > 1, protocol
        assert not [word for word in words if any(wrong in word for wrong in WRONG)], protocol


def test_without_the_directory_no_password_is_said_to_be_wrong(
    server: Server, host: testinfra.host.Host, bill: User
) -> None:
    """A connected client gets a temporary error of its protocol; logins work again once the directory is back."""
    token = base64.b64encode(f"\0{bill.address}\0{bill.password}".encode()).decode()
    with protocols.smtp(server, "submission") as session, ThreadPoolExecutor(3) as clients:
        host.check_output("systemctl stop postgresql@17-main")
        try:
            auth = clients.submit(session.docmd, "AUTH", f"PLAIN {token}")
            imap, pop3 = (clients.submit(said, partial(log_in, server, name, bill)) for name in ("imaps", "pop3s"))
            assert "[UNAVAILABLE]" in imap.result()
            assert "[SYS/TEMP]" in pop3.result()
            assert auth.result()[0] == 454
        finally:
            host.check_output("systemctl start postgresql@17-main")
    back = time.monotonic()
    assert refusals(server, bill, 1) == []
    assert time.monotonic() - back < 5
