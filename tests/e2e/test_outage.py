# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemons' view of the directory, and what happens when a daemon dies."""

from __future__ import annotations

import contextlib
import imaplib
import smtplib
from collections.abc import Callable, Iterator

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, reachable, receive, subjects, until


def answers(server: Server, user: User) -> bool:
    """Whether a mail sent to port 25 can be read by IMAP."""
    try:
        return arrived(server, user, receive(server, "someone@outside.example", user.address), 5)
    except (OSError, smtplib.SMTPException, imaplib.IMAP4.error):
        return False


@contextlib.contextmanager
def slow_deliveries(host: testinfra.host.Host, user: User) -> Iterator[Callable[[], bool]]:
    """Deliveries to `user` reach the mailbox but get no reply until the end; yields whether one waits so."""
    # Dovecot writes sizes under this lock, after it has stored the mail.
    lock = host.check_output(f"doveadm mailbox path -u {user.address} INBOX") + "/dovecot-vsize.lock"
    host.check_output(f"install -o vmail -g vmail -m 0600 /dev/null {lock}")
    inode = host.check_output(f"stat --format=%i {lock}")
    hold = f"import fcntl, signal; file = open('{lock}', 'r+'); fcntl.lockf(file, fcntl.LOCK_EX); signal.pause()"
    host.check_output(f'systemd-run --unit=e2e-lock --collect python3 -c "{hold}"')

    def locks(kind: str) -> bool:
        return bool(host.run(f"grep --quiet -- '^[0-9]*: {kind}.*:{inode} ' /proc/locks").succeeded)

    try:
        assert until(lambda: locks("POSIX"))
        yield lambda: locks("->")
    finally:
        host.check_output("systemctl stop e2e-lock")


@pytest.mark.parametrize(
    "query", ["SELECT password FROM v1.passdb", "SELECT * FROM directory.account", "CREATE TABLE v1.t (i int)"]
)
@pytest.mark.parametrize("user", ["postfix", "vmail"])
def test_only_dovecot_sees_a_hash(host: testinfra.host.Host, user: str, query: str) -> None:
    asked = host.run(f'runuser -u {user} -- psql --dbname=mailhosting --command="{query}"')
    assert "permission denied" in asked.stderr


def test_no_other_user_gets_into_the_directory(host: testinfra.host.Host) -> None:
    asked = host.run("runuser -u nobody -- psql --dbname=mailhosting --command='SELECT 1'")
    assert asked.rc != 0


def test_dovecot_sees_the_views_and_no_table(host: testinfra.host.Host) -> None:
    ask = "runuser -u dovecot -- psql --dbname=mailhosting --tuples-only --command='{}'"
    assert "ARGON2ID" in host.check_output(ask.format("SELECT password FROM v1.passdb LIMIT 1"))
    assert "permission denied" in host.run(ask.format("SELECT * FROM directory.account")).stderr


@pytest.mark.parametrize("unit", ["postfix", "dovecot", "postgresql@17-main"])
def test_a_killed_daemon_comes_back(server: Server, host: testinfra.host.Host, bill: User, unit: str) -> None:
    host.check_output(f"systemctl kill --signal=KILL --kill-whom=main {unit}")
    assert until(lambda: host.run(f"systemctl is-active {unit}").stdout.strip() == "active", 30)

    assert until(lambda: answers(server, bill), 30)


def test_a_mail_that_is_being_delivered_when_dovecot_is_stopped_comes_once(
    server: Server, host: testinfra.host.Host, bill: User
) -> None:
    def is_stopped() -> bool:
        return str(host.run("systemctl is-active dovecot").stdout).strip() == "inactive"

    with slow_deliveries(host, bill) as one_waits:
        subject = receive(server, "someone@outside.example", bill.address)
        assert until(one_waits)
        host.check_output("systemctl stop --no-block dovecot")
        # Dovecot finishes the delivery before it stops; everything else may end at once.
        goes_on = not until(lambda: not reachable(server, 993), 3)
        assert goes_on or until(is_stopped)
    try:
        assert until(is_stopped)
    finally:
        host.check_output("systemctl reset-failed dovecot; systemctl start dovecot; postqueue -f")
    assert until(lambda: f'"address": "{bill.address}' not in host.check_output("postqueue -j"), 60)
    assert subjects(server, bill).count(subject) == 1
    assert goes_on


def test_without_the_directory_mail_is_put_off_and_nothing_is_refused_for_good(
    server: Server, host: testinfra.host.Host, bill: User
) -> None:
    host.check_output("systemctl stop postgresql@17-main")
    try:
        with protocols.smtp(server, "smtp") as session:
            codes = {session.mail("someone@outside.example")[0], session.rcpt(bill.address)[0]}
        assert codes <= {250} | set(range(400, 500))
        assert max(codes) >= 400
    finally:
        host.check_output("systemctl start postgresql@17-main")

    assert until(lambda: answers(server, bill), 60)
