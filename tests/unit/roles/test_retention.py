# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program of the role retention plans, remembers and reports."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/retention/files/retention.py"
DAY = 86400
NOW = 1000 * DAY
ACCOUNT_IDS = {"taro@acme.example": 7, "hanako@acme.example": 8}


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("retention", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["retention"] = module  # where dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


retention = load()


MAILBOXES = retention.Mailboxes(("Sent", "Sent Items", "Drafts", "送信済み"), ("Trash", "Deleted Items"), ("Junk",))


def mail(uid: int = 1, **other: Any) -> Any:
    made = retention.Mail("taro@acme.example", "INBOX", "f00d", uid, f"guid-{uid}", True, NOW, NOW, 100)
    return made._replace(**other)


@pytest.mark.parametrize(
    ("found", "rules", "first_read", "rule"),
    [
        (mail(), {"read": 14 * DAY}, NOW - 14 * DAY, "read"),
        (mail(), {"read": 14 * DAY}, NOW - 14 * DAY + 1, None),
        (mail(received=NOW - 400 * DAY), {"read": 14 * DAY}, NOW - 13 * DAY, None),
        (mail(received=NOW - 400 * DAY), {"read": 14 * DAY}, None, None),
        (mail(), {}, NOW - 400 * DAY, None),
        (mail(received=NOW - 30 * DAY), {"any": 30 * DAY}, None, "any"),
        (mail(received=NOW - 30 * DAY + 1), {"any": 30 * DAY}, None, None),
        (mail(received=NOW - 90 * DAY, guid=f"{NOW - 29 * DAY}.M1P2.mx1,S=100"), {"any": 30 * DAY}, None, None),
        (mail(received=NOW - 90 * DAY, guid=f"{NOW - 30 * DAY}.M1P2.mx1,S=100"), {"any": 30 * DAY}, None, "any"),
        (mail(received=NOW - 30 * DAY, guid=f"{NOW}.M1P2.mx1,S=100"), {"dated": 30 * DAY}, None, "dated"),
        (mail(received=NOW - 30 * DAY + 1), {"dated": 30 * DAY}, None, None),
        (mail(mailbox="DELETED items", saved=NOW - 7 * DAY), {"trash": 7 * DAY}, None, "trash"),
        (mail(mailbox="Trash", saved=NOW - 7 * DAY), {"trash": 7 * DAY}, None, "trash"),
        (mail(mailbox="Trash", saved=NOW - 7 * DAY + 1, received=0), {"trash": 7 * DAY}, None, None),
        (mail(mailbox="Trash/2025", saved=NOW - 7 * DAY), {"trash": 7 * DAY}, None, "trash"),
        (mail(mailbox="Trashed", saved=NOW - 7 * DAY), {"trash": 7 * DAY}, None, None),
        (mail(mailbox="Junk", saved=NOW - 7 * DAY), {"trash": 7 * DAY}, None, None),
        (mail(mailbox="Junk", saved=NOW - 7 * DAY), {"junk": 7 * DAY}, None, "junk"),
        (mail(received=0), {"read": 14 * DAY, "any": DAY}, NOW - 14 * DAY, "read"),
    ],
)
def test_rule_by_which_a_mail_goes(found: Any, rules: dict[str, int], first_read: int | None, rule: str | None) -> None:
    assert retention.rule_for(found, rules, MAILBOXES, first_read, NOW) == rule


@pytest.mark.parametrize(
    ("mailbox", "own"),
    [
        ("INBOX", False),
        ("Trash", False),
        ("Sentinel", False),
        ("Sent", True),
        ("Sent/2025", True),
        ("sent items", True),
        ("送信済み", True),
        ("Drafts", True),
    ],
)
def test_mailboxes_of_what_their_owner_wrote(mailbox: str, own: bool) -> None:
    assert MAILBOXES.has("own", mail(mailbox=mailbox)) is own


def test_one_query_asks_for_all_rules() -> None:
    rules = {"read": 14 * DAY, "any": 30 * DAY, "junk": 7 * DAY}

    mailboxes = retention.Mailboxes((), ("Trash",), ("Junk",))

    assert " ".join(retention.query(rules, mailboxes, NOW)) == (
        f"( MAILBOX * SEEN ) OR ( MAILBOX * BEFORE {NOW - 30 * DAY} )"
        f" OR ( MAILBOX Junk SAVEDBEFORE {NOW - 7 * DAY} ) OR ( MAILBOX Junk/* SAVEDBEFORE {NOW - 7 * DAY} )"
    )


def test_what_is_removed_is_named_by_mailbox_and_uid_and_read_mail_must_be_read_still() -> None:
    removals = [retention.Removal(mail(uid), "read") for uid in (7, 1, 2, 3)]
    removals.append(retention.Removal(mail(9), "any"))

    assert retention.expunge_clauses(removals) == [
        ("taro@acme.example", ["MAILBOX-GUID", "f00d", "UID", "1:3,7", "SEEN"]),
        ("taro@acme.example", ["MAILBOX-GUID", "f00d", "UID", "9"]),
    ]


def test_no_argument_is_longer_than_the_kernel_allows() -> None:
    scattered = [retention.Removal(mail(4_000_000_000 + 2 * number), "any") for number in range(10_000)]

    clauses = retention.expunge_clauses(scattered)

    assert sum(clause[3].count(",") + 1 for _user, clause in clauses) == 10_000
    longest = max(len(clause[3]) for _user, clause in clauses)
    assert longest < 128 * 1024
    assert retention.CLAUSES * (longest + 100) < 2 * 1024 * 1024


def test_accounts_of_equal_rules_go_together() -> None:
    def account(number: int, rules: tuple[tuple[str, int], ...]) -> Any:
        return retention.Account(number, f"u{number:04}@a.example", "a.example", "a", rules, ())

    short, long = (("read", DAY),), (("any", DAY),)
    accounts = [account(number, short) for number in range(retention.BATCH + 1)] + [account(9999, long)]

    assert [(len(batch), batch[0].rules) for batch in retention.batches(reversed(accounts))] == [
        (retention.BATCH, short),
        (1, short),
        (1, long),
    ]


@pytest.fixture
def read_mail(tmp_path: Path) -> Any:
    return retention.ReadMail(tmp_path / "read.sqlite")


def test_the_first_run_that_finds_a_mail_read_is_remembered(read_mail: Any) -> None:
    assert read_mail.first([mail(1)], ACCOUNT_IDS, NOW, NOW) == {mail(1): NOW}
    assert read_mail.first([mail(1), mail(2)], ACCOUNT_IDS, NOW + DAY, NOW + DAY) == {mail(1): NOW, mail(2): NOW + DAY}


def test_a_moved_mail_is_the_same_and_another_accounts_copy_is_not(read_mail: Any) -> None:
    read_mail.first([mail(1)], ACCOUNT_IDS, NOW, NOW)
    moved = mail(1, mailbox="Archive", mailbox_guid="beef")._replace(uid=5)
    theirs = mail(1, user="hanako@acme.example")

    assert read_mail.first([moved, theirs], ACCOUNT_IDS, NOW + DAY, NOW + DAY) == {moved: NOW, theirs: NOW + DAY}


def test_what_a_run_did_not_find_begins_anew(read_mail: Any) -> None:
    read_mail.first([mail(1), mail(2)], ACCOUNT_IDS, NOW, NOW)
    read_mail.first([mail(2)], ACCOUNT_IDS, NOW + DAY, NOW + DAY)
    read_mail.forget_before(NOW + DAY)

    found = read_mail.first([mail(1), mail(2)], ACCOUNT_IDS, NOW + 2 * DAY, NOW + 2 * DAY)

    assert found == {mail(1): NOW + 2 * DAY, mail(2): NOW}


def test_a_clock_that_was_set_back_delays_nothing(read_mail: Any) -> None:
    read_mail.first([mail(1)], ACCOUNT_IDS, NOW + 1000 * DAY, NOW + 1000 * DAY)

    assert read_mail.first([mail(1)], ACCOUNT_IDS, NOW, NOW) == {mail(1): NOW}


class Host:
    """Dovecot and the directory of one host, as far as a run asks them; `mails` by uid."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mails = {1: mail(1), 2: mail(2, seen=False)}
        self.rules = {"read": 14 * DAY}
        self.account: tuple[Any, ...] = (7, "taro@acme.example", "acme.example", "acme")
        self.held = False
        self.now, self.slept = NOW, 0
        self.fails: str | None = None
        self.expunged: list[str] = []
        self.sender = "Someone <someone@outside.example>"
        monkeypatch.setattr(retention, "doveadm", self.doveadm)
        monkeypatch.setattr(retention.time, "sleep", self.sleep)

    def execute(self, _query: str, _values: object) -> list[tuple[Any, ...]]:
        return [] if self.held else [(*self.account, self.rules, [self.account[1], "info@acme.example"])]

    def rename(self, account_id: int, username: str) -> None:
        """Another name for the account, or another account of that name."""
        self.account = (account_id, username, "acme.example", "acme")
        self.mails = {uid: found._replace(user=username) for uid, found in self.mails.items()}

    def sleep(self, seconds: int) -> None:
        self.slept += seconds

    def doveadm(self, users: Any, *arguments: str) -> str:
        assert list(users) == [self.account[1]]
        if arguments[0] == self.fails:
            raise retention.DoveadmFailed(f"{arguments[0]} failed", "[")
        if arguments[0] == "expunge":
            self.expunged.append(" ".join(arguments[1:]))
            return ""
        return json.dumps(
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
            ]
        )

    def run(self, read_mail: Any, after: int, *, dry_run: bool = False) -> Any:
        self.now = NOW + after
        return retention.Run(self, read_mail, MAILBOXES, dry_run=dry_run, clock=lambda: self.now).all()


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


GONE = ["( MAILBOX-GUID f00d UID 1 SEEN )"]


def test_a_run_removes_what_it_found_read_two_weeks_ago(live: Host, read_mail: Any) -> None:
    assert not live.run(read_mail, 0).mails
    assert not live.run(read_mail, 13 * DAY).mails

    outcome = live.run(read_mail, 14 * DAY)

    assert live.expunged == GONE
    assert dict(outcome.mails) == {("acme", "taro@acme.example", "read"): 1}
    assert outcome.sizes.total() == 100


@pytest.mark.parametrize("sender", ["Taro <TARO@acme.example>", "info@acme.example", "x@a.example, taro@acme.example"])
def test_what_its_owner_wrote_stays_wherever_it_lies(live: Host, read_mail: Any, sender: str) -> None:
    live.sender = sender
    live.mails = {1: mail(1, mailbox="Projekte")}
    live.run(read_mail, 0)

    assert not live.run(read_mail, 14 * DAY).mails
    assert live.expunged == []


def test_a_rename_prolongs_nothing(live: Host, read_mail: Any) -> None:
    live.run(read_mail, 0)
    live.rename(7, "jiro@acme.example")
    live.run(read_mail, 13 * DAY)
    assert live.expunged == []

    outcome = live.run(read_mail, 14 * DAY)

    assert live.expunged == GONE
    assert dict(outcome.mails) == {("acme", "jiro@acme.example", "read"): 1}


def test_who_gets_the_name_of_another_account_does_not_get_its_times(live: Host, read_mail: Any) -> None:
    live.run(read_mail, 0)
    live.rename(9, "taro@acme.example")
    live.run(read_mail, 14 * DAY)

    assert live.expunged == []


def test_a_run_some_minutes_early_waits(live: Host, read_mail: Any) -> None:
    live.run(read_mail, 0)
    live.run(read_mail, 14 * DAY - 90)

    assert live.slept == 90
    assert live.expunged == GONE


def test_a_run_some_hours_early_does_not(live: Host, read_mail: Any) -> None:
    live.run(read_mail, 0)
    live.run(read_mail, 14 * DAY - 7200)

    assert (live.slept, live.expunged) == (0, [])


def test_a_dry_run_removes_and_remembers_nothing(live: Host, read_mail: Any) -> None:
    live.run(read_mail, 0, dry_run=True)
    live.run(read_mail, DAY)
    outcome = live.run(read_mail, 15 * DAY, dry_run=True)

    assert outcome.mails.total() == 1
    assert live.expunged == []
    live.run(read_mail, 15 * DAY)
    assert live.expunged == GONE


def test_after_a_hold_the_time_begins_anew(live: Host, read_mail: Any) -> None:
    live.run(read_mail, 0)
    live.held = True
    live.run(read_mail, 15 * DAY)
    live.held = False
    live.run(read_mail, 16 * DAY)

    assert live.expunged == []


def test_a_hold_placed_while_dovecot_lists_is_kept(live: Host, read_mail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    live.run(read_mail, 0)
    listing = live.doveadm

    def hold(*arguments: Any) -> str:
        live.held = True
        return listing(*arguments)

    monkeypatch.setattr(retention, "doveadm", hold)
    outcome = live.run(read_mail, 15 * DAY)

    assert (live.expunged, outcome.mails.total()) == ([], 0)


def test_a_night_that_fails_forgets_nothing(live: Host, read_mail: Any) -> None:
    live.run(read_mail, 0)
    live.fails = "fetch"
    assert live.run(read_mail, DAY).errors == ["fetch failed"]
    live.fails = None
    live.run(read_mail, 14 * DAY)

    assert live.expunged == GONE


def test_what_could_not_be_removed_is_an_error_and_not_reported_as_gone(live: Host, read_mail: Any) -> None:
    live.run(read_mail, 0)
    live.fails = "expunge"
    outcome = live.run(read_mail, 14 * DAY)

    assert outcome.errors == ["expunge failed"]
    assert outcome.mails.total() == 0


def outcome_of_two() -> Any:
    outcome = retention.Outcome(accounts=7)
    for user, mails in (("taro", 2), ("hanako", 3)):
        outcome.mails["acme", f"{user}@acme.example", "read"] = mails
        outcome.sizes["acme", f"{user}@acme.example", "read"] = mails * 10
    return outcome


def test_a_report_has_accounts_their_tenants_sums_and_the_runs() -> None:
    lines = retention.report_lines(outcome_of_two(), datetime(2026, 1, 2, tzinfo=UTC), 1.25, dry_run=True)

    hanako, taro, acme, run = lines
    assert hanako == {
        "of": "account",
        "tenant": "acme",
        "account": "hanako@acme.example",
        "rule": "read",
        "mails": 3,
        "bytes": 30,
    }
    assert taro["mails"] == 2
    assert acme == {"of": "tenant", "tenant": "acme", "rule": "read", "accounts": 2, "mails": 5, "bytes": 50}
    assert run == {
        "of": "run",
        "began": "2026-01-02T00:00:00+00:00",
        "seconds": 1.2,
        "dry_run": True,
        "accounts": 7,
        "mails": 5,
        "bytes": 50,
        "errors": [],
    }
    _heading, row, ending = retention.table(lines)
    assert row.split() == ["acme", "read", "2", "5", "50"]
    assert ending.startswith("5 mails, 50 bytes would go; 7 accounts have rules")


def test_reports_are_kept_for_some_days(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    now = datetime.now(tz=UTC).timestamp()
    retention.write_report(reports, [{"of": "run", "number": 1}], "first", 90, now)
    retention.write_report(reports, [{"of": "run", "number": 2}], "second", 90, now)
    assert retention.last_report(reports) == [{"of": "run", "number": 2}]

    retention.write_report(reports, [{"of": "run", "number": 3}], "third", 90, now + 91 * DAY)

    with pytest.raises(FileNotFoundError, match="no report"):
        retention.last_report(reports)


def test_without_a_run_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there has been no run"):
        retention.last_report(tmp_path / "reports")
