# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mail to remove, and the queries to Dovecot for it.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

#: Plan keys under `retention`; a mail that several rules match is reported under the first.
RULES: Final = ("read", "received", "dated", "trash", "junk")
#: The rules for mailboxes of a kind, and those below them.
KINDS: Final = ("trash", "junk")

#: Accounts that one run of doveadm lists.
BATCH: Final = 500
#: Mailboxes, and ranges of UIDs in each, of one run of doveadm: arguments of 1 MB, where 2 MB are allowed.
CLAUSES, RANGES = 300, 200

_Item = TypeVar("_Item")


class Account(NamedTuple):
    """An account, and its rules."""

    account_id: int
    username: str
    domain: str
    tenant: str
    rules: tuple[tuple[str, int], ...]  # some of RULES with their seconds
    addresses: tuple[str, ...]  # addresses that its owner writes from


class Mail(NamedTuple):
    """A mail in a mailbox, as Dovecot lists it."""

    user: str
    mailbox: str
    mailbox_guid: str
    uid: int
    guid: str
    seen: bool
    internal_date: int  # IMAP's INTERNALDATE; all times are Unix times
    saved: int  # when it came into this mailbox; 0 if no rule needs it
    size: int  # bytes, as the quota counts them


class Removal(NamedTuple):
    """A mail to remove, and the rule for that."""

    mail: Mail
    rule: str


@dataclass(frozen=True)
class Mailboxes:
    """The names of the mailboxes that rules apply to."""

    own: tuple[str, ...]  # their owner's own mail does not count as read, although programs flag it \\Seen
    trash: tuple[str, ...]
    junk: tuple[str, ...]

    def has(self, kind: str, mail: Mail) -> bool:
        """Whether a mail is in a mailbox of this kind or below one."""
        name = mail.mailbox.casefold()
        return any(name == own or name.startswith(f"{own}/") for own in map(str.casefold, getattr(self, kind)))


def query(rules: Mapping[str, int], mailboxes: Mailboxes, now: int) -> list[str]:
    """doveadm-search-query(7) for all mail that any of the rules may match."""
    clauses: list[list[str]] = []
    if "read" in rules:
        clauses.append(["MAILBOX", "*", "SEEN"])
    if dates := [rules[rule] for rule in ("received", "dated") if rule in rules]:
        clauses.append(["MAILBOX", "*", "BEFORE", str(now - min(dates))])
    for rule in KINDS:
        if rule in rules:
            before = ["SAVEDBEFORE", str(now - rules[rule])]
            for mailbox in getattr(mailboxes, rule):
                clauses += [["MAILBOX", mailbox, *before], ["MAILBOX", f"{mailbox}/*", *before]]
    return either(clauses)


def either(clauses: Iterable[Sequence[str]]) -> list[str]:
    """The clauses, joined by OR."""
    words: list[str] = []
    for clause in clauses:
        words += [*(["OR"] if words else []), "(", *clause, ")"]
    return words


def came(mail: Mail) -> int:
    """When a mail came to this host.  Its date is earlier if a mail program or a migration added it.

    The name that Dovecot gives to a Maildir file begins with that time, and is the mail's GUID wherever it is moved.
    """
    time_of_name = re.match(r"(\d{1,12})\.", mail.guid)
    return max(mail.internal_date, int(time_of_name[1]) if time_of_name else 0)


def rule_for(
    mail: Mail, rules: Mapping[str, int], mailboxes: Mailboxes, first_read: int | None, now: int
) -> str | None:
    """The rule that removes the mail now, or None.  `first_read`: None for mail that does not count as read."""
    since = {"read": first_read, "received": came(mail), "dated": mail.internal_date}
    since |= {kind: mail.saved for kind in KINDS if mailboxes.has(kind, mail)}
    for rule in RULES:
        start = since.get(rule)
        if rule in rules and start is not None and start + rules[rule] <= now:
            return rule
    return None


def uid_ranges(uids: Iterable[int]) -> list[str]:
    """IMAP sequence sets of one range each: 1, 2, 3, 7 are `1:3` and `7`."""
    ranges: list[list[int]] = []
    for uid in sorted(uids):
        if ranges and uid == ranges[-1][1] + 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return [f"{first}:{last}" if last > first else f"{first}" for first, last in ranges]


def expunge_clauses(removals: Iterable[Removal]) -> list[tuple[str, list[str]]]:
    """(user, clause) that match these mails; mail removed as read only if it is still read."""
    groups: dict[tuple[str, str, bool], list[int]] = {}
    for mail, rule in removals:
        groups.setdefault((mail.user, mail.mailbox_guid, rule == "read"), []).append(mail.uid)
    clauses = []
    for (user, mailbox_guid, must_be_seen), uids in groups.items():
        for part in chunks(uid_ranges(uids), RANGES):
            clause = ["MAILBOX-GUID", mailbox_guid, "UID", ",".join(part), *(["SEEN"] if must_be_seen else [])]
            clauses.append((user, clause))
    return clauses


def chunks(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """The items, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def batches(accounts: Iterable[Account]) -> Iterator[Sequence[Account]]:
    """Accounts with equal rules, at most BATCH at a time."""
    groups: dict[tuple[tuple[str, int], ...], list[Account]] = {}
    for account in sorted(accounts, key=lambda account: (account.domain, account.username)):
        groups.setdefault(account.rules, []).append(account)
    for group in groups.values():
        yield from chunks(group, BATCH)
