# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which mails are removed, by which rule, and Dovecot's query for them."""

from __future__ import annotations

import pytest
from mailhosting.retention import plan

from .build import DAY, MAILBOXES, NOW, mail


@pytest.mark.parametrize(
    ("found", "rules", "first_read", "rule"),
    [
        (mail(), {"read": 14 * DAY}, NOW - 14 * DAY, "read"),
        (mail(), {"read": 14 * DAY}, NOW - 14 * DAY + 1, None),
        (mail(internal_date=NOW - 400 * DAY), {"read": 14 * DAY}, NOW - 13 * DAY, None),
        (mail(internal_date=NOW - 400 * DAY), {"read": 14 * DAY}, None, None),
        (mail(), {}, NOW - 400 * DAY, None),
        (mail(internal_date=NOW - 30 * DAY), {"received": 30 * DAY}, None, "received"),
        (mail(internal_date=NOW - 30 * DAY + 1), {"received": 30 * DAY}, None, None),
        (
            mail(internal_date=NOW - 90 * DAY, guid=f"{NOW - 29 * DAY}.M1P2.mx1,S=100"),
            {"received": 30 * DAY},
            None,
            None,
        ),
        (
            mail(internal_date=NOW - 90 * DAY, guid=f"{NOW - 30 * DAY}.M1P2.mx1,S=100"),
            {"received": 30 * DAY},
            None,
            "received",
        ),
        (mail(internal_date=NOW - 30 * DAY, guid=f"{NOW}.M1P2.mx1,S=100"), {"dated": 30 * DAY}, None, "dated"),
        (mail(internal_date=NOW - 30 * DAY + 1), {"dated": 30 * DAY}, None, None),
        (mail(mailbox="DELETED items", saved=NOW - 7 * DAY), {"trash": 7 * DAY}, None, "trash"),
        (mail(mailbox="Trash", saved=NOW - 7 * DAY), {"trash": 7 * DAY}, None, "trash"),
        (mail(mailbox="Trash", saved=NOW - 7 * DAY + 1, internal_date=0), {"trash": 7 * DAY}, None, None),
        (mail(mailbox="Trash/2025", saved=NOW - 7 * DAY), {"trash": 7 * DAY}, None, "trash"),
        (mail(mailbox="Trashed", saved=NOW - 7 * DAY), {"trash": 7 * DAY}, None, None),
        (mail(mailbox="Junk", saved=NOW - 7 * DAY), {"trash": 7 * DAY}, None, None),
        (mail(mailbox="Junk", saved=NOW - 7 * DAY), {"junk": 7 * DAY}, None, "junk"),
        (mail(internal_date=0), {"read": 14 * DAY, "received": DAY}, NOW - 14 * DAY, "read"),
    ],
)
def test_rule_by_which_a_mail_goes(
    found: plan.Mail, rules: dict[str, int], first_read: int | None, rule: str | None
) -> None:
    assert plan.rule_for(found, rules, MAILBOXES, first_read, NOW) == rule


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
    rules = {"read": 14 * DAY, "received": 30 * DAY, "junk": 7 * DAY}

    mailboxes = plan.Mailboxes((), ("Trash",), ("Junk",))

    assert " ".join(plan.query(rules, mailboxes, NOW)) == (
        f"( MAILBOX * SEEN ) OR ( MAILBOX * BEFORE {NOW - 30 * DAY} )"
        f" OR ( MAILBOX Junk SAVEDBEFORE {NOW - 7 * DAY} ) OR ( MAILBOX Junk/* SAVEDBEFORE {NOW - 7 * DAY} )"
    )


def test_what_is_removed_is_named_by_mailbox_and_uid_and_read_mail_must_be_read_still() -> None:
    removals = [plan.Removal(mail(uid), "read") for uid in (7, 1, 2, 3)]
    removals.append(plan.Removal(mail(9), "received"))

    assert plan.expunge_clauses(removals) == [
        ("taro@acme.example", ["MAILBOX-GUID", "f00d", "UID", "1:3,7", "SEEN"]),
        ("taro@acme.example", ["MAILBOX-GUID", "f00d", "UID", "9"]),
    ]


def test_no_argument_is_longer_than_the_kernel_allows() -> None:
    scattered = [plan.Removal(mail(4_000_000_000 + 2 * number), "received") for number in range(10_000)]

    clauses = plan.expunge_clauses(scattered)

    assert sum(clause[3].count(",") + 1 for _user, clause in clauses) == 10_000
    longest = max(len(clause[3]) for _user, clause in clauses)
    assert longest < 128 * 1024
    assert plan.CLAUSES * (longest + 100) < 2 * 1024 * 1024


def test_accounts_of_equal_rules_go_together() -> None:
    def account(number: int, rules: tuple[tuple[str, int], ...]) -> plan.Account:
        return plan.Account(number, f"u{number:04}@a.example", "a.example", "a", rules, ())

    short, long = (("read", DAY),), (("received", DAY),)
    accounts = [account(number, short) for number in range(plan.BATCH + 1)] + [account(9999, long)]

    assert [(len(batch), batch[0].rules) for batch in plan.batches(reversed(accounts))] == [
        (plan.BATCH, short),
        (1, short),
        (1, long),
    ]
