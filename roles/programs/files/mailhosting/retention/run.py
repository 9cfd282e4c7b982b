# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists and removes mail by Dovecot, and keeps a table of when mail was first found read."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import getaddresses
from pathlib import Path
from typing import Any, Final

from ..common import doveadm
from ..common.errors import DoveadmError
from .plan import (
    CLAUSES,
    KINDS,
    RULES,
    Account,
    Mail,
    Mailboxes,
    Removal,
    batches,
    chunks,
    either,
    expunge_clauses,
    query,
    rule_for,
)

#: The most seconds to wait for read mail that is about to be due: a run that starts a minute earlier than the last one
#: must not delay it by a day.
PATIENCE: Final = 600


@dataclass
class Outcome:
    """What a run removed, or would have."""

    mails: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # by tenant, account and rule
    sizes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    accounts: int = 0
    errors: list[str] = field(default_factory=list)


class ReadMail:
    """When each mail was first found read.  Losing the table loses no mail: all times begin anew."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS read"
            " (mail BLOB PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID"
        )
        self._connection.execute("BEGIN IMMEDIATE")

    def first(self, mails: Iterable[Mail], account_ids: Mapping[str, int], now: int, run: int) -> dict[Mail, int]:
        """When each mail was first found read, which may be now.

        `account_ids`: the accounts by the user of each mail.  `run`: when this run began.
        """
        # If the clock was set back, times in the future are set back too.
        statement = """
            INSERT INTO read VALUES (?, ?, ?)
            ON CONFLICT (mail) DO UPDATE SET first = min(first, excluded.first), last = excluded.last RETURNING first
        """
        execute = self._connection.execute
        return {
            mail: execute(statement, (self._key(account_ids[mail.user], mail.guid), now, run)).fetchone()[0]
            for mail in mails
        }

    @staticmethod
    def _key(account_id: int, guid: str) -> bytes:
        # Dovecot gives the copies of one mail for several recipients the same GUID.
        return hashlib.blake2b(f"{account_id}\0{guid}".encode(), digest_size=16).digest()

    def forget_before(self, run: int) -> None:
        """Remove rows that this run did not find: mail that is gone or unread, and accounts under a hold."""
        # Not "<": if the clock was set back, rows of later runs must not stay.
        self._connection.execute("DELETE FROM read WHERE last <> ?", (run,))

    def keep(self) -> None:
        """Commit."""
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN IMMEDIATE")

    def discard(self) -> None:
        """Roll back to the last `keep`."""
        self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN IMMEDIATE")


def listed(rows: Iterable[Mapping[str, str]]) -> list[Mail]:
    """Mail as `doveadm fetch` prints it."""
    return [
        Mail(
            row["user"],
            row["mailbox"],
            row["mailbox-guid"],
            int(row["uid"]),
            row["guid"],
            "\\Seen" in row["flags"].split(),
            int(row.get("date.received.unixtime", 0)),
            int(row.get("date.saved.unixtime", 0)),
            int(row["size.virtual"]),
        )
        for row in rows
    ]


def fetch(
    users: Iterable[str], rules: Mapping[str, int], mailboxes: Mailboxes, now: int
) -> tuple[list[Mail], str | None]:
    """All mail that the rules may match, and the errors for some of the users."""
    fields = "user mailbox mailbox-guid uid guid flags size.virtual"
    fields += " date.received.unixtime" if rules.keys() & {"received", "dated"} else ""
    fields += " date.saved.unixtime" if rules.keys() & set(KINDS) else ""
    try:
        rows, complaint = doveadm.ask(users, "fetch", fields, *query(rules, mailboxes, now))
    except DoveadmError as error:
        return [], str(error)
    return listed(rows), complaint or None


def senders(removals: Iterable[Removal]) -> dict[tuple[str, str, int], set[str]]:
    """The From addresses of mails, in lower case, by user, GUID of the mailbox and UID.  Raises: DoveadmError."""
    found: dict[tuple[str, str, int], set[str]] = {}
    for part in chunks(expunge_clauses(removals), CLAUSES):
        users = sorted({user for user, _clause in part})
        fields = "user mailbox-guid uid hdr.from"
        for row in doveadm.ask(users, "fetch", fields, *either(clause for _user, clause in part)).of_all():
            addresses = {address.lower() for _name, address in getaddresses([row["hdr.from"]])}
            found[row["user"], row["mailbox-guid"], int(row["uid"])] = addresses
    return found


class Run:
    """One run over all accounts that have rules."""

    def __init__(
        self,
        directory: Any,
        read_mail: ReadMail,
        mailboxes: Mailboxes,
        *,
        dry_run: bool,
        clock: Callable[[], int],
    ) -> None:
        self._directory, self._read_mail, self._dry_run, self._clock = directory, read_mail, dry_run, clock
        self._mailboxes = mailboxes
        self._began = clock()
        self.outcome = Outcome()

    def all(self) -> Outcome:
        """Run over every account."""
        accounts = self._accounts()
        self.outcome.accounts = len(accounts)
        for batch in batches(accounts):
            self._remove(batch)
        # Rows of accounts that could not be listed stay, or their time would begin anew.
        if not self.outcome.errors:
            self._read_mail.forget_before(self._began)
        if self._dry_run:
            self._read_mail.discard()
        else:
            self._read_mail.keep()
        return self.outcome

    def _accounts(self, domains: list[str] | None = None) -> list[Account]:
        """The accounts with rules, in these domains only."""
        rows = self._directory.execute(
            "SELECT account_id, username, domain, tenant, retention, addresses FROM v1.retention"
            " WHERE %(all)s OR domain = ANY(%(domains)s)",
            {"all": domains is None, "domains": domains or []},
        )
        return [
            Account(
                number,
                username,
                domain,
                tenant,
                tuple((rule, int(rules[rule])) for rule in RULES if rule in rules),
                tuple(sorted(addresses)),
            )
            for number, username, domain, tenant, rules, addresses in rows
        ]

    def _remove(self, batch: Sequence[Account]) -> None:
        rules = dict(batch[0].rules)
        mails, error = fetch((account.username for account in batch), rules, self._mailboxes, self._clock())
        if error:
            self.outcome.errors.append(error)
        now = self._clock()
        read = [mail for mail in mails if "read" in rules and mail.seen and not self._mailboxes.has("own", mail)]
        account_ids = {account.username: account.account_id for account in batch}
        first = self._read_mail.first(read, account_ids, now, self._began)
        if not self._dry_run:
            self._read_mail.keep()
            due = [when + rules["read"] for when in first.values()]
            soon = max((when for when in due if now < when <= now + PATIENCE), default=now)
            time.sleep(soon - now)
            now = soon
        removals = [
            Removal(mail, rule)
            for mail in mails
            if (rule := rule_for(mail, rules, self._mailboxes, first.get(mail), now)) is not None
        ]
        removals = self._without_own_mail(removals, batch)
        tenants = {account.username: account.tenant for account in self._still(batch)}
        removals = [removal for removal in removals if removal.mail.user in tenants]
        clauses = expunge_clauses(removals)
        failed: set[str] = set()
        for part in chunks(clauses, CLAUSES):
            users = sorted({user for user, _clause in part})
            try:
                if not self._dry_run:
                    doveadm.ask(users, "expunge", *either(clause for _user, clause in part)).of_all()
            except DoveadmError as error:
                self.outcome.errors.append(str(error))
                failed.update(users)
        for mail, rule in removals:
            if mail.user not in failed:
                what = (tenants[mail.user], mail.user, rule)
                self.outcome.mails[what] += 1
                self.outcome.sizes[what] += mail.size

    def _without_own_mail(self, removals: Sequence[Removal], batch: Sequence[Account]) -> list[Removal]:
        """`removals` without read mail that its owner wrote, in any mailbox."""
        read = [removal for removal in removals if removal.rule == "read"]
        others = [removal for removal in removals if removal.rule != "read"]
        try:
            found = senders(read)
        except DoveadmError as error:
            self.outcome.errors.append(str(error))
            return others
        own = {account.username: set(account.addresses) for account in batch}
        places = ((mail.user, mail.mailbox_guid, mail.uid) for mail, _rule in read)
        return others + [
            removal
            for removal, place in zip(read, places, strict=True)
            if place in found and found[place].isdisjoint(own[removal.mail.user])
        ]

    def _still(self, batch: Sequence[Account]) -> list[Account]:
        """The accounts of the batch whose rules have not changed: a hold may have been placed since."""
        domains = sorted({account.domain for account in batch})
        return list(set(batch).intersection(self._accounts(domains)))
