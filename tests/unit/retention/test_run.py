# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run remembers, removes and keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mailhosting.common import doveadm
from mailhosting.common.doveadm import Said
from mailhosting.common.errors import DoveadmError
from mailhosting.retention import run
from mailhosting.retention.run import Outcome, ReadMail

from .build import DAY, MAILBOXES, NOW, mail

ACCOUNT_IDS = {"taro@acme.example": 7, "hanako@acme.example": 8}


@pytest.fixture
def read_mail(tmp_path: Path) -> ReadMail:
    return ReadMail(tmp_path / "read.sqlite")


def test_the_first_run_that_finds_a_mail_read_is_remembered(read_mail: ReadMail) -> None:
    assert read_mail.first([mail(1)], ACCOUNT_IDS, NOW, NOW) == {mail(1): NOW}
    assert read_mail.first([mail(1), mail(2)], ACCOUNT_IDS, NOW + DAY, NOW + DAY) == {mail(1): NOW, mail(2): NOW + DAY}


def test_a_moved_mail_is_the_same_and_another_accounts_copy_is_not(read_mail: ReadMail) -> None:
    read_mail.first([mail(1)], ACCOUNT_IDS, NOW, NOW)
    moved = mail(1, mailbox="Archive", mailbox_guid="beef")._replace(uid=5)
    theirs = mail(1, user="hanako@acme.example")

    assert read_mail.first([moved, theirs], ACCOUNT_IDS, NOW + DAY, NOW + DAY) == {moved: NOW, theirs: NOW + DAY}


def test_what_a_run_did_not_find_begins_anew(read_mail: ReadMail) -> None:
    read_mail.first([mail(1), mail(2)], ACCOUNT_IDS, NOW, NOW)
    read_mail.first([mail(2)], ACCOUNT_IDS, NOW + DAY, NOW + DAY)
    read_mail.forget_before(NOW + DAY)

    found = read_mail.first([mail(1), mail(2)], ACCOUNT_IDS, NOW + 2 * DAY, NOW + 2 * DAY)

    assert found == {mail(1): NOW + 2 * DAY, mail(2): NOW}


def test_a_clock_that_was_set_back_delays_nothing(read_mail: ReadMail) -> None:
    read_mail.first([mail(1)], ACCOUNT_IDS, NOW + 1000 * DAY, NOW + 1000 * DAY)

    assert read_mail.first([mail(1)], ACCOUNT_IDS, NOW, NOW) == {mail(1): NOW}


class Host:
    """Dovecot and the directory of one host, as far as a run uses them; `mails` by uid."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mails = {1: mail(1), 2: mail(2, seen=False)}
        self.rules = {"read": 14 * DAY}
        self.account: tuple[Any, ...] = (7, "taro@acme.example", "acme.example", "acme")
        self.held = False
        self.now, self.slept = NOW, 0
        self.fails: str | None = None
        self.expunged: list[str] = []
        self.sender = "Someone <someone@outside.example>"
        monkeypatch.setattr(doveadm, "ask", self.doveadm)
        monkeypatch.setattr("mailhosting.retention.run.time.sleep", self.sleep)

    def execute(self, _query: str, _values: object) -> list[tuple[Any, ...]]:
        return [] if self.held else [(*self.account, self.rules, [self.account[1], "info@acme.example"])]

    def rename(self, account_id: int, username: str) -> None:
        """Give the account another name, or the name another account."""
        self.account = (account_id, username, "acme.example", "acme")
        self.mails = {uid: found._replace(user=username) for uid, found in self.mails.items()}

    def sleep(self, seconds: int) -> None:
        self.slept += seconds

    def doveadm(self, users: Any, *arguments: str) -> Said:
        assert list(users) == [self.account[1]]
        if arguments[0] == self.fails:
            raise DoveadmError(f"{arguments[0]} failed")
        if arguments[0] == "expunge":
            self.expunged.append(" ".join(arguments[1:]))
            return Said([], "")
        return Said(
            [
                {
                    "user": found.user,
                    "mailbox": found.mailbox,
                    "mailbox-guid": found.mailbox_guid,
                    "uid": str(found.uid),
                    "hdr.from": self.sender,
                    "guid": found.guid,
                    "flags": "\\Seen \\Flagged" if found.seen else "",
                    "size.virtual": str(found.size),
                }
                for found in self.mails.values()
            ],
            "",
        )

    def run(self, read_mail: ReadMail, after: int, *, dry_run: bool = False) -> Outcome:
        self.now = NOW + after
        return run.Run(self, read_mail, MAILBOXES, dry_run=dry_run, clock=lambda: self.now).all()


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


GONE = ["( MAILBOX-GUID f00d UID 1 SEEN )"]


def test_a_run_removes_what_it_found_read_two_weeks_ago(live: Host, read_mail: ReadMail) -> None:
    assert not live.run(read_mail, 0).mails
    assert not live.run(read_mail, 13 * DAY).mails

    outcome = live.run(read_mail, 14 * DAY)

    assert live.expunged == GONE
    assert dict(outcome.mails) == {("acme", "taro@acme.example", "read"): 1}
    assert outcome.sizes.total() == 100


@pytest.mark.parametrize("sender", ["Taro <TARO@acme.example>", "info@acme.example", "x@a.example, taro@acme.example"])
def test_what_its_owner_wrote_stays_wherever_it_lies(live: Host, read_mail: ReadMail, sender: str) -> None:
    live.sender = sender
    live.mails = {1: mail(1, mailbox="Projekte")}
    live.run(read_mail, 0)

    assert not live.run(read_mail, 14 * DAY).mails
    assert live.expunged == []


def test_a_rename_prolongs_nothing(live: Host, read_mail: ReadMail) -> None:
    live.run(read_mail, 0)
    live.rename(7, "jiro@acme.example")
    live.run(read_mail, 13 * DAY)
    assert live.expunged == []

    outcome = live.run(read_mail, 14 * DAY)

    assert live.expunged == GONE
    assert dict(outcome.mails) == {("acme", "jiro@acme.example", "read"): 1}


def test_who_gets_the_name_of_another_account_does_not_get_its_times(live: Host, read_mail: ReadMail) -> None:
    live.run(read_mail, 0)
    live.rename(9, "taro@acme.example")
    live.run(read_mail, 14 * DAY)

    assert live.expunged == []


def test_a_run_some_minutes_early_waits(live: Host, read_mail: ReadMail) -> None:
    live.run(read_mail, 0)
    live.run(read_mail, 14 * DAY - 90)

    assert live.slept == 90
    assert live.expunged == GONE


def test_a_run_some_hours_early_does_not(live: Host, read_mail: ReadMail) -> None:
    live.run(read_mail, 0)
    live.run(read_mail, 14 * DAY - 7200)

    assert (live.slept, live.expunged) == (0, [])


def test_a_dry_run_removes_and_remembers_nothing(live: Host, read_mail: ReadMail) -> None:
    live.run(read_mail, 0, dry_run=True)
    live.run(read_mail, DAY)
    outcome = live.run(read_mail, 15 * DAY, dry_run=True)

    assert outcome.mails.total() == 1
    assert live.expunged == []
    live.run(read_mail, 15 * DAY)
    assert live.expunged == GONE


def test_after_a_hold_the_time_begins_anew(live: Host, read_mail: ReadMail) -> None:
    live.run(read_mail, 0)
    live.held = True
    live.run(read_mail, 15 * DAY)
    live.held = False
    live.run(read_mail, 16 * DAY)

    assert live.expunged == []


def test_a_hold_placed_while_dovecot_lists_is_kept(
    live: Host, read_mail: ReadMail, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.run(read_mail, 0)
    listing = live.doveadm

    def hold(*arguments: Any) -> Said:
        live.held = True
        return listing(*arguments)

    monkeypatch.setattr(doveadm, "ask", hold)
    outcome = live.run(read_mail, 15 * DAY)

    assert (live.expunged, outcome.mails.total()) == ([], 0)


def test_a_night_that_fails_forgets_nothing(live: Host, read_mail: ReadMail) -> None:
    live.run(read_mail, 0)
    live.fails = "fetch"
    assert live.run(read_mail, DAY).errors == ["fetch failed"]
    live.fails = None
    live.run(read_mail, 14 * DAY)

    assert live.expunged == GONE


def test_what_could_not_be_removed_is_an_error_and_not_reported_as_gone(live: Host, read_mail: ReadMail) -> None:
    live.run(read_mail, 0)
    live.fails = "expunge"
    outcome = live.run(read_mail, 14 * DAY)

    assert outcome.errors == ["expunge failed"]
    assert outcome.mails.total() == 0
