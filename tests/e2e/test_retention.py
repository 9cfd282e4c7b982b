# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail is removed when its plan says, and not before: nights of many days, one after the other, on a live host."""

from __future__ import annotations

import contextlib
import imaplib
import json
import re
import shlex
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, inbox, message, receive, subjects
from .control import Control

#: The program, once for each day, each time in a child of one process: half of its time is imports.  It ends with the
#: exit code of the first run that fails.
PROGRAM = """
import os, sys
sys.path.insert(0, "/usr/lib/mailhosting")
from mailhosting.common import log
from mailhosting.retention import __main__ as retention

do, state, *days = sys.argv[1:]
for day in days:
    child = os.fork()
    if child == 0:
        sys.argv = ["retention", do, f"--state={state}", f"--today={day}"]
        log.set_up()
        sys.exit(retention.main())
    if failed := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(failed)
"""
OUTSIDE = "someone@outside.example"


class Nights:
    """Runs of the program, each as if so many days from today, with a memory of their own."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self.state = host.check_output("runuser -u vmail -- mktemp -d /tmp/retention.XXXXXX")

    def until(self, last: int, first: int | None = None, do: str = "run") -> str:
        """Run the nights from day `first` (default: only `last`) to `last`; returns the last output."""
        start = datetime.now(tz=UTC).date()
        days = [start + timedelta(days=day) for day in range(last if first is None else first, last + 1)]
        command = ["runuser", "-u", "vmail", "--", "python3", "-I", "-c", PROGRAM, do, self.state, *map(str, days)]
        return str(self._host.check_output(f"cd / && {shlex.join(command)}").splitlines()[-1])

    def report(self) -> list[dict[str, Any]]:
        newest = self._host.check_output(f"cat $(ls -t {self.state}/reports/*.jsonl | head -n1)")
        return [json.loads(line) for line in newest.splitlines()]

    def forget(self) -> None:
        self._host.check_output(f"rm -r {self.state}")


@pytest.fixture
def nights(host: testinfra.host.Host) -> Iterator[Nights]:
    made = Nights(host)
    yield made
    made.forget()


@pytest.fixture
def user(tenant: Control) -> User:
    made = User(f"r{uuid.uuid4().hex[:8]}@e2e.example", "kept for two weeks")
    tenant.module("mail_account", address=made.address, password=made.password)
    return made


def keep(tenant: Control, **rules: str) -> None:
    """Set the tenant's rules."""
    tenant.module(
        "mail_tenant",
        name="e2e",
        plan="basic",
        domains=[{"name": "e2e.example"}],
        overrides={"retention": rules, "mailbox_quota": "1G", "max_accounts": None},
    )


def delivered(server: Server, user: User, size: int = 0) -> str:
    subject = receive(server, OUTSIDE, user.address, size=size)
    assert arrived(server, user, subject)
    return subject


def put(server: Server, user: User, mailbox: str, days_ago: int, flags: str = "", sender: str = OUTSIDE) -> str:
    """Store a mail that is so many days old, as a migration does."""
    made = message(sender, user.address)
    when = imaplib.Time2Internaldate(datetime.now(tz=UTC) - timedelta(days=days_ago))
    with inbox(server, user) as session:
        session.create(mailbox)
        assert session.append(mailbox, flags, when, made.as_bytes())[0] == "OK"
    return str(made["Subject"])


def flag(server: Server, user: User, subject: str, what: str, flags: str = r"(\Seen)") -> None:
    with inbox(server, user) as session:
        number = session.search(None, "SUBJECT", subject)[1][0].decode()
        assert session.store(number, what, flags)[0] == "OK"


def move(server: Server, user: User, subject: str, mailbox: str) -> None:
    with inbox(server, user) as session:
        session.create(mailbox)
        number = session.search(None, "SUBJECT", subject)[1][0].decode()
        assert session.xatom("MOVE", number, mailbox)[0] == "OK"


def there(server: Server, user: User, mailbox: str) -> int:
    """The number of mails in the mailbox."""
    with inbox(server, user) as session:
        (count,) = session.select(mailbox, readonly=True)[1]
    assert count is not None
    return int(count)


def pop_read(server: Server, user: User, subject: str, *, whole: bool) -> None:
    """RETR a mail, or only TOP of it."""
    with contextlib.closing(protocols.pop3(server, "pop3s")) as maildrop:
        maildrop.user(user.address)
        maildrop.pass_(user.password)
        for number in range(1, maildrop.stat()[0] + 1):
            if subject.encode() in b"".join(maildrop.top(number, 0)[1]) and whole:
                maildrop.retr(number)
        maildrop.quit()


def used(server: Server, user: User) -> int:
    """KiB of the quota in use."""
    with inbox(server, user) as session:
        answer = session.getquotaroot("INBOX")[1][1][0].decode()
    found = re.search(r"STORAGE (\d+)", answer)
    assert found, answer
    return int(found.group(1))


@pytest.mark.requirement("VM-3")
def test_mail_goes_two_weeks_after_it_was_first_read(
    server: Server, tenant: Control, user: User, nights: Nights
) -> None:
    keep(tenant, read="14d")
    popped, shown, topped, unread = (delivered(server, user, size=70_000) for _ in range(4))
    before = used(server, user)
    nights.until(19, first=0)

    # Day 20.
    pop_read(server, user, popped, whole=True)
    pop_read(server, user, topped, whole=False)
    flag(server, user, shown, "+FLAGS")

    nights.until(33, first=20)
    assert subjects(server, user) == [popped, shown, topped, unread]
    nights.until(35, first=34)
    assert subjects(server, user) == [topped, unread]
    assert used(server, user) <= before / 2 + 2

    nights.until(60, first=36)
    assert subjects(server, user) == [topped, unread]


def test_an_old_mail_that_is_read_today_stays_two_weeks_more(
    server: Server, tenant: Control, user: User, nights: Nights
) -> None:
    keep(tenant, read="14d")
    old = put(server, user, "INBOX", days_ago=20)
    flag(server, user, old, "+FLAGS")
    nights.until(13, first=0)
    assert subjects(server, user) == [old]
    nights.until(14)
    assert subjects(server, user) == []


def test_a_rename_between_two_nights_prolongs_nothing(
    server: Server, tenant: Control, user: User, nights: Nights
) -> None:
    keep(tenant, read="14d")
    read, unread = (delivered(server, user) for _ in range(2))
    flag(server, user, read, "+FLAGS")
    nights.until(0)
    renamed = User(f"new{user.address}", user.password)
    tenant.module("mail_account", address=renamed.address, renamed_from=user.address.partition("@")[0])

    nights.until(13, first=1)
    assert subjects(server, renamed) == [read, unread]
    nights.until(14)
    assert subjects(server, renamed) == [unread]


def test_what_a_user_does_to_a_read_mail(server: Server, tenant: Control, user: User, nights: Nights) -> None:
    """A move and other flags prolong nothing; unread again is unread; mail of the owner's own stays."""
    keep(tenant, read="14d")
    moved, flagged, again = (delivered(server, user) for _ in range(3))
    for mailbox in ("Sent", "Drafts", '"Sent Items"', "&kAFP4W4IMH8-"):
        put(server, user, mailbox, days_ago=1, flags=r"(\Seen)")
    put(server, user, "Projects", days_ago=1, flags=r"(\Seen)", sender=user.address)
    for subject in (moved, flagged, again):
        flag(server, user, subject, "+FLAGS")
    nights.until(0)
    move(server, user, moved, "Archive")
    flag(server, user, flagged, "FLAGS", r"(\Seen \Flagged $Label1)")
    flag(server, user, again, "-FLAGS")
    nights.until(5)
    flag(server, user, again, "+FLAGS")

    nights.until(13, first=6)
    assert (there(server, user, "INBOX"), there(server, user, "Archive")) == (2, 1)
    nights.until(14)
    assert subjects(server, user) == [again]
    assert there(server, user, "Archive") == 0
    nights.until(20, first=15)
    assert subjects(server, user) == []
    for mailbox in ("Sent", "Drafts", '"Sent Items"', "&kAFP4W4IMH8-", "Projects"):
        assert there(server, user, mailbox) == 1, mailbox


def test_no_mail_program_sees_a_mark(server: Server, tenant: Control, user: User, nights: Nights) -> None:
    keep(tenant, read="14d")
    flag(server, user, delivered(server, user), "+FLAGS")
    nights.until(0)
    with inbox(server, user) as session:
        assert session.response("FLAGS")[1] == [rb"(\Answered \Flagged \Deleted \Seen \Draft)"]
        (flags,) = session.fetch("1", "(FLAGS)")[1]
        assert isinstance(flags, bytes)
        assert rb"(\Seen)" in flags


@pytest.mark.requirement("AS-13")
def test_any_mail_trash_and_junk_have_times_of_their_own(
    server: Server, tenant: Control, user: User, nights: Nights
) -> None:
    keep(tenant, dated="30d", trash="7d", junk="3d")
    younger, _older = (put(server, user, "INBOX", days_ago=days) for days in (29, 31))
    thrown = put(server, user, "INBOX", days_ago=10)
    put(server, user, "Trash/2025", days_ago=10)
    put(server, user, "Junk", days_ago=10)
    move(server, user, thrown, "Trash")

    nights.until(0)
    assert subjects(server, user) == [younger]
    sums = {line["rule"]: (line["tenant"], line["mails"]) for line in nights.report() if line["of"] == "tenant"}
    assert sums == {"dated": ("e2e", 1)}
    nights.until(2)
    assert subjects(server, user) == []
    assert (there(server, user, "Junk"), there(server, user, "Trash")) == (1, 1)
    nights.until(4)
    assert (there(server, user, "Junk"), there(server, user, "Trash")) == (0, 1)
    nights.until(6)
    assert (there(server, user, "Trash/2025"), there(server, user, "Trash")) == (1, 1)
    nights.until(8)
    assert (there(server, user, "Trash/2025"), there(server, user, "Trash")) == (0, 0)


def test_any_mail_goes_so_long_after_it_came_whatever_its_date(
    server: Server, tenant: Control, user: User, nights: Nights
) -> None:
    keep(tenant, received="30d")
    put(server, user, "INBOX", days_ago=400)
    moved = put(server, user, "INBOX", days_ago=400)
    nights.until(20)
    move(server, user, moved, "Archive")
    nights.until(29)
    assert (there(server, user, "INBOX"), there(server, user, "Archive")) == (1, 1)
    nights.until(31)
    assert (there(server, user, "INBOX"), there(server, user, "Archive")) == (0, 0)


def test_a_suspended_account_and_one_that_never_logs_in(
    server: Server, tenant: Control, user: User, nights: Nights, host: testinfra.host.Host
) -> None:
    keep(tenant, read="14d", received="30d")
    read = delivered(server, user)
    flag(server, user, read, "+FLAGS")
    tenant.module("mail_account", address=user.address, state="suspended")
    never = User("never@e2e.example", "never used")
    tenant.module("mail_account", address=never.address, password=never.password)
    receive(server, OUTSIDE, never.address)
    waiting = f"doveadm -f flow fetch -u {never.address} uid mailbox INBOX all"
    host.run_expect([0], f"timeout 30 sh -c 'until {waiting} | grep -q uid=; do sleep 0.2; done'")

    nights.until(15, first=0)
    assert "uid=" not in host.check_output(f"doveadm -f flow fetch -u {user.address} uid mailbox INBOX all")
    assert "uid=1" in host.check_output(waiting)
    nights.until(31)
    assert "uid=" not in host.check_output(waiting)


def test_nothing_goes_under_a_legal_hold(server: Server, tenant: Control, user: User, nights: Nights) -> None:
    keep(tenant, read="14d", received="30d")
    held = delivered(server, user)
    flag(server, user, held, "+FLAGS")
    nights.until(0)
    tenant.module("mail_account", address=user.address, hold=[{"scope": "retention", "reason": "e2e"}])
    nights.until(40, first=38)
    assert subjects(server, user) == [held]
    tenant.module("mail_account", address=user.address, release=["retention"])
    nights.until(41)
    assert subjects(server, user) == []


def test_a_dry_run_removes_and_remembers_nothing_and_both_report_the_same(
    server: Server, tenant: Control, user: User, nights: Nights, host: testinfra.host.Host
) -> None:
    keep(tenant, read="14d")
    mails = [delivered(server, user, size=7_000) for _ in range(3)]
    for subject in mails[:2]:
        flag(server, user, subject, "+FLAGS")
    nights.until(0)
    sizes = host.check_output(f"doveadm -f flow fetch -u {user.address} size.virtual mailbox INBOX seen")
    size = sum(map(int, re.findall(r"size.virtual=(\d+)", sizes)))

    assert f"2 mails, {size} bytes would go" in nights.until(14, do="dry-run")
    dry = nights.report()
    assert subjects(server, user) == mails
    assert f"2 mails, {size} bytes went" in nights.until(14)
    wet = nights.report()

    assert subjects(server, user) == mails[2:]
    expected = {"rule": "read", "mails": 2, "bytes": size, "tenant": "e2e"}
    assert (
        dry[:-1]
        == wet[:-1]
        == [
            {"of": "account", "account": user.address, **expected},
            {"of": "tenant", "accounts": 1, **expected},
        ]
    )
    assert (dry[-1]["dry_run"], wet[-1]["dry_run"], wet[-1]["errors"]) == (True, False, [])
    # A dry run that finds a mail read for the first time does not remember it.
    flag(server, user, mails[2], "+FLAGS")
    nights.until(15, do="dry-run")
    nights.until(16)
    nights.until(29)
    assert subjects(server, user) == mails[2:]
    nights.until(30)
    assert subjects(server, user) == []


def test_an_operator_runs_it_now_in_its_sandbox(
    server: Server, tenant: Control, user: User, host: testinfra.host.Host
) -> None:
    keep(tenant, dated="1d")
    subject = put(server, user, "INBOX", days_ago=2)
    printed = tenant.playbook("retention", retention_dry_run=True)
    assert re.search(r"e2e +dated +\d+ +\d+", printed), printed
    assert "would go" in printed
    assert subjects(server, user) == [subject]

    printed = tenant.playbook("retention")
    assert re.search(r"\d+ mails, \d+ bytes went", printed), printed
    assert subjects(server, user) == []
    said = host.check_output("journalctl --unit=mailhosting-retention@run.service --output=cat --lines=20")
    assert "bytes went" in said
    modes = host.check_output("find /var/lib/mailhosting/retention -printf '%m %u %y\n' | sort --unique").splitlines()
    assert set(modes) == {"600 vmail f", "700 vmail d"}


def test_it_runs_every_night_at_the_same_time(host: testinfra.host.Host) -> None:
    assert host.check_output("systemctl is-enabled mailhosting-retention.timer") == "enabled"
    timer = host.check_output("systemctl show mailhosting-retention.timer")
    for line in ("Persistent=yes", "FixedRandomDelay=yes", "Unit=mailhosting-retention@run.service"):
        assert line in timer.splitlines()
