# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemons must not be able to do, tried from inside; and what happens when one dies."""

from __future__ import annotations

import imaplib
import smtplib
from collections.abc import Iterator

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from . import sandbox
from .clients import User, arrived, receive, until

#: What must fail in a sandbox, and does not outside of it: for root, and for anybody.
ROOT = {
    "write a system file": "touch /usr/bin/intruder && rm /usr/bin/intruder",
    "write the configuration": "touch /etc/intruder && rm /etc/intruder",
    "make a unit": "touch /etc/systemd/system/intruder && rm /etc/systemd/system/intruder",
    "read root's files": "ls -A /root | grep .",
    "read the directory's files": "ls /var/lib/postgresql | grep .",
    "mount": "unshare --mount true",
    "take the processor": "chrt --rr 1 true",
    "set up the kernel": "sysctl -w kernel.domainname=mail",
    "rename the host": "hostname -F /etc/hostname",
    "make a device": "mknod /run/intruder c 1 3 && rm /run/intruder",
}
ANYBODY = {
    "write code to run": "python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)'",
    "be root of a namespace": "unshare --user true",
}
QUEUE = ("active", "corrupt", "deferred", "hold", "incoming", "maildrop")
#: A file in each of them, whose name Postfix leaves alone.
NO_MAIL = "no-mail"
FORBIDDEN = {
    "postfix.service": {
        **ROOT,
        **ANYBODY,
        "read the mailboxes": f"cat /var/vmail/{NO_MAIL}",
        "read Dovecot's configuration": "ls /etc/dovecot | grep .",
        "become root by a file": "install -m 4755 /bin/true /var/lib/postfix/e2e && rm /var/lib/postfix/e2e",
    },
    "dovecot.service": {
        **ROOT,
        **ANYBODY,
        "read Postfix's configuration": "ls /etc/postfix | grep .",
        "become root by a file": "install -m 4755 /bin/true /var/lib/dovecot/e2e && rm /var/lib/dovecot/e2e",
        **{f"read mail in {folder}": f"cat /var/spool/postfix/{folder}/{NO_MAIL}" for folder in QUEUE},
    },
    "mailhosting-remove-mailboxes.service": {
        **ANYBODY,
        **{
            f"look into {folder}": f"ls {folder} | grep ."
            for folder in ("/etc/mailhosting", "/etc/dovecot", "/etc/postfix", "/var/spool/postfix", "/run/dovecot")
        },
        "see other processes": "ls /proc/1/status",
        "see the system": "ls /proc/sys/kernel/hostname",
        "talk to the network": "python3 -c 'import socket; socket.socket(socket.AF_INET)'",
        "take less of the processor": "chrt --idle 0 true",
        "let others read": "umask | grep 22",
    },
}
NEEDED = "do its work"
ALLOWED = {
    "postfix.service": "touch /var/lib/postfix/e2e && rm /var/lib/postfix/e2e && ls /var/spool/postfix/hold",
    "dovecot.service": "touch /var/vmail/e2e && rm /var/vmail/e2e",
    "mailhosting-remove-mailboxes.service": "touch /var/vmail/e2e && rm /var/vmail/e2e && ls /run/postgresql/.s.*",
}


@pytest.fixture(scope="module")
def mail_in_each_folder(host: testinfra.host.Host) -> Iterator[None]:
    folders = ("/var/vmail", *(f"/var/spool/postfix/{folder}" for folder in QUEUE))
    files = " ".join(f"{folder}/{NO_MAIL}" for folder in folders)
    host.check_output(f"touch {files}")
    yield
    host.check_output(f"rm {files}")


def answers(server: Server, user: User) -> bool:
    """Whether a mail handed in on port 25 can be read by IMAP."""
    try:
        return arrived(server, user, receive(server, "someone@outside.example", user.address), 5)
    except (OSError, smtplib.SMTPException, imaplib.IMAP4.error):
        return False


@pytest.mark.usefixtures("mail_in_each_folder")
@pytest.mark.parametrize("unit", FORBIDDEN)
def test_a_sandbox_lets_only_what_the_unit_needs(host: testinfra.host.Host, unit: str) -> None:
    acts = {**FORBIDDEN[unit], NEEDED: ALLOWED[unit]}
    assert sandbox.outside(host, unit, acts) == [*acts]
    assert sandbox.inside(host, unit, acts, "start" if "-" in unit else "reload") == [NEEDED]


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
