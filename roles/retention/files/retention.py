# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""retention.py run | dry-run | report: remove the mail that its plan keeps no longer, and say what went.

Runs as vmail, nightly.  The directory's view v1.retention says whose mail goes, and when; Dovecot lists it and removes
it, hundreds of accounts a process.  When a mail was read is known to nobody, so a table remembers the first run that
found it read, by the account's number and the mail's GUID, which stay when the one is renamed and the other moved.  A
mail found unread is forgotten there, and so is all mail of an account under a legal hold: their time begins anew.

Ends with 1 when some account could not be looked at or some mail not be removed; the next run does it.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from email.utils import getaddresses
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

DATABASE: Final = "dbname=mailhosting host=/var/run/postgresql"

#: Plan keys under `retention`; a mail that falls under several is reported under the first.
RULES: Final = ("read", "any", "dated", "trash", "junk")
#: The rules that are about mailboxes of a kind, with those in them.
KINDS: Final = ("trash", "junk")

#: Accounts that one process of Dovecot lists.
BATCH: Final = 500
#: Mailboxes, and ranges of UIDs in each, that one process removes from: arguments of 1 MB, of 2 MB there may be.
CLAUSES, RANGES = 300, 200
#: Seconds to wait for read mail that is about to be due: a run a minute earlier than the last is no day's delay.
PATIENCE: Final = 600

_Item = TypeVar("_Item")


class Account(NamedTuple):
    """A mailbox, and what goes out of it."""

    account_id: int
    username: str
    domain: str
    tenant: str
    rules: tuple[tuple[str, int], ...]  # some of RULES with their seconds
    addresses: tuple[str, ...]  # what its owner writes as


class Mail(NamedTuple):
    """A mail in a mailbox, as Dovecot lists it."""

    user: str
    mailbox: str
    mailbox_guid: str
    uid: int
    guid: str
    seen: bool
    received: int  # Unix time, as are all here
    saved: int  # when it came into this mailbox; 0 where no rule asks
    size: int  # bytes, as the quota counts them


class Removal(NamedTuple):
    """A mail that goes, and why."""

    mail: Mail
    rule: str


@dataclass(frozen=True)
class Mailboxes:
    """What mail programs call the mailboxes that rules are about."""

    own: tuple[str, ...]  # what their owner wrote is not read mail, though programs flag it \\Seen
    trash: tuple[str, ...]
    junk: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Mailboxes:
        """Those of the role's file."""
        return cls(**{kind: tuple(names) for kind, names in json.loads(path.read_text()).items()})

    def has(self, kind: str, mail: Mail) -> bool:
        """Whether a mail lies in a mailbox of the kind or below one."""
        name = mail.mailbox.casefold()
        return any(name == own or name.startswith(f"{own}/") for own in map(str.casefold, getattr(self, kind)))


@dataclass
class Outcome:
    """What a run removed, or would have."""

    mails: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # by tenant, account and rule
    sizes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    accounts: int = 0
    errors: list[str] = field(default_factory=list)


# What is to be removed: no I/O here.


def query(rules: Mapping[str, int], mailboxes: Mailboxes, now: int) -> list[str]:
    """doveadm-search-query(7) for all mail that any of the rules may be about."""
    clauses: list[list[str]] = []
    if "read" in rules:
        clauses.append(["MAILBOX", "*", "SEEN"])
    if dates := [rules[rule] for rule in ("any", "dated") if rule in rules]:
        clauses.append(["MAILBOX", "*", "BEFORE", str(now - min(dates))])
    for rule in KINDS:
        if rule in rules:
            before = ["SAVEDBEFORE", str(now - rules[rule])]
            for mailbox in getattr(mailboxes, rule):
                clauses += [["MAILBOX", mailbox, *before], ["MAILBOX", f"{mailbox}/*", *before]]
    return either(clauses)


def either(clauses: Iterable[Sequence[str]]) -> list[str]:
    """The clauses, one of which is to match."""
    words: list[str] = []
    for clause in clauses:
        words += [*(["OR"] if words else []), "(", *clause, ")"]
    return words


def came(mail: Mail) -> int:
    """When a mail came to this host, which is later than its date if a mail program or a migration put it in.

    A name that Dovecot gave to a Maildir file begins with that time, and is the mail's GUID wherever it is moved.
    """
    time_of_name = re.match(r"(\d{1,12})\.", mail.guid)
    return max(mail.received, int(time_of_name[1]) if time_of_name else 0)


def rule_for(
    mail: Mail, rules: Mapping[str, int], mailboxes: Mailboxes, first_read: int | None, now: int
) -> str | None:
    """The rule by which the mail goes now, or None.  `first_read`: None for mail that does not count as read."""
    since = {"read": first_read, "any": came(mail), "dated": mail.received}
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
    """(user, clause) that match these mails; read mail only while it is read still."""
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
    """Accounts of equal rules, at most BATCH at a time."""
    groups: dict[tuple[tuple[str, int], ...], list[Account]] = {}
    for account in sorted(accounts, key=lambda account: (account.domain, account.username)):
        groups.setdefault(account.rules, []).append(account)
    for group in groups.values():
        yield from chunks(group, BATCH)


# What is remembered.


class ReadMail:
    """When each mail was first found read.  Losing it costs nobody a mail: all time begins anew."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS read"
            " (mail BLOB PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID"
        )
        self._connection.execute("BEGIN IMMEDIATE")

    def first(self, mails: Iterable[Mail], account_ids: Mapping[str, int], now: int, run: int) -> dict[Mail, int]:
        """When each was first found read, which may be now.

        `account_ids`: whose they are, by the user of each mail.  `run`: when this run began.
        """
        # A clock that was set back pulls what lies in the future back with it.
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
        """Forget what this run did not find: mail that is gone or unread, and accounts under a hold."""
        # Not "<": a clock that was set back must not keep what the runs before it found.
        self._connection.execute("DELETE FROM read WHERE last <> ?", (run,))

    def keep(self) -> None:
        """Everything so far stays."""
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN IMMEDIATE")

    def discard(self) -> None:
        """Everything since `keep` never was."""
        self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN IMMEDIATE")


# What is done.


class DoveadmFailed(Exception):
    """doveadm(1) could not do all of it; the text is what it said.  `printed`: what it did do."""

    def __init__(self, said: str, printed: str) -> None:
        super().__init__(said)
        self.printed = printed


def doveadm(users: Iterable[str], *arguments: str) -> str:
    """Run one command for all users; what it printed.  DoveadmFailed if it failed for some of them."""
    # Arguments can be read by everybody on the host; doveadm takes no list from a pipe.
    with os.fdopen(os.memfd_create("users"), "w") as file:
        file.write("".join(f"{user}\n" for user in users))
        file.flush()
        command = ["doveadm", "-f", "json", arguments[0], "-F", "/dev/stdin", *arguments[1:]]
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise DoveadmFailed(f"doveadm {arguments[0]} ended with {done.returncode}: {'; '.join(said[:5])}", done.stdout)
    return done.stdout


def listed(printed: str) -> list[Mail]:
    """Mail as `doveadm fetch` printed it."""
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
        for row in json.loads(printed or "[]")
    ]


def fetch(
    users: Iterable[str], rules: Mapping[str, int], mailboxes: Mailboxes, now: int
) -> tuple[list[Mail], str | None]:
    """All mail that the rules may be about, and what went wrong for some of the users."""
    fields = "user mailbox mailbox-guid uid guid flags size.virtual"
    fields += " date.received.unixtime" if rules.keys() & {"any", "dated"} else ""
    fields += " date.saved.unixtime" if rules.keys() & set(KINDS) else ""
    try:
        return listed(doveadm(users, "fetch", fields, *query(rules, mailboxes, now))), None
    except DoveadmFailed as failed:
        try:
            return listed(failed.printed), str(failed)
        except ValueError:
            return [], str(failed)


def senders(removals: Iterable[Removal]) -> dict[tuple[str, str, int], set[str]]:
    """Who the mails say they are from, in lower case, by user, GUID of the mailbox and UID.  Raises: DoveadmFailed."""
    found: dict[tuple[str, str, int], set[str]] = {}
    for part in chunks(expunge_clauses(removals), CLAUSES):
        users = sorted({user for user, _clause in part})
        printed = doveadm(users, "fetch", "user mailbox-guid uid hdr.from", *either(clause for _user, clause in part))
        for row in json.loads(printed or "[]"):
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
        """Every account's turn."""
        accounts = self._accounts()
        self.outcome.accounts = len(accounts)
        for batch in batches(accounts):
            self._remove(batch)
        # What could not be looked at is not forgotten, or its time would begin anew.
        if not self.outcome.errors:
            self._read_mail.forget_before(self._began)
        if self._dry_run:
            self._read_mail.discard()
        else:
            self._read_mail.keep()
        return self.outcome

    def _accounts(self, domains: list[str] | None = None) -> list[Account]:
        """All that have rules, of these domains only."""
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
                    doveadm(users, "expunge", *either(clause for _user, clause in part))
            except DoveadmFailed as error:
                self.outcome.errors.append(str(error))
                failed.update(users)
        for mail, rule in removals:
            if mail.user not in failed:
                what = (tenants[mail.user], mail.user, rule)
                self.outcome.mails[what] += 1
                self.outcome.sizes[what] += mail.size

    def _without_own_mail(self, removals: Sequence[Removal], batch: Sequence[Account]) -> list[Removal]:
        """Without the read mail that its owner wrote, whatever the mailbox is called."""
        read = [removal for removal in removals if removal.rule == "read"]
        others = [removal for removal in removals if removal.rule != "read"]
        try:
            found = senders(read)
        except DoveadmFailed as error:
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
        """Those of the batch whose rules are what they were: a hold may have been placed since."""
        domains = sorted({account.domain for account in batch})
        return list(set(batch).intersection(self._accounts(domains)))


# What is said.


def report_lines(outcome: Outcome, began: datetime, seconds: float, *, dry_run: bool) -> list[dict[str, Any]]:
    """The report: a line for each account and rule by which something went, then each tenant's sums, then the run's."""
    lines: list[dict[str, Any]] = [
        {"of": "account", "tenant": tenant, "account": account, "rule": rule, "mails": mails, "bytes": size}
        for (tenant, account, rule), mails in sorted(outcome.mails.items())
        for size in [outcome.sizes[tenant, account, rule]]
    ]
    sums: dict[tuple[str, str], Counter[str]] = {}
    for line in lines:
        counts = {"accounts": 1, "mails": line["mails"], "bytes": line["bytes"]}
        sums.setdefault((line["tenant"], line["rule"]), Counter()).update(counts)
    lines += [{"of": "tenant", "tenant": tenant, "rule": rule, **counts} for (tenant, rule), counts in sums.items()]
    run = {"of": "run", "began": began.isoformat(timespec="seconds"), "seconds": round(seconds, 1), "dry_run": dry_run}
    run |= {"accounts": outcome.accounts, "mails": outcome.mails.total(), "bytes": outcome.sizes.total()}
    return [*lines, {**run, "errors": outcome.errors}]


def table(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """A report for people: tenants' sums, and the run's."""
    rows = [f"{'tenant':<24} {'rule':<6} {'accounts':>9} {'mails':>9} {'bytes':>15}"]
    ending = []
    for line in lines:
        if line["of"] == "tenant":
            rows.append("{tenant:<24} {rule:<6} {accounts:>9} {mails:>9} {bytes:>15}".format_map(line))
        if line["of"] == "run":
            went = "would go" if line["dry_run"] else "went"
            ending.append(
                f"{line['mails']} mails, {line['bytes']} bytes {went}; {line['accounts']} accounts have rules;"
                f" began {line['began']}, took {line['seconds']} s"
            )
            ending += [f"error: {error}" for error in line["errors"]]
    return rows + ending if len(rows) > 1 else ending


def write_report(folder: Path, lines: Iterable[Mapping[str, Any]], name: str, keep_days: int, now: float) -> None:
    """Write the report NAME.jsonl, and remove those written more than `keep_days` ago."""
    folder.mkdir(exist_ok=True)
    partial = folder / f"{name}.partial"
    partial.write_text("".join(json.dumps(line) + "\n" for line in lines))
    partial.rename(folder / f"{name}.jsonl")
    for old in folder.iterdir():
        if old.stat().st_mtime < now - keep_days * 86400:
            old.unlink()


def last_report(folder: Path) -> list[dict[str, Any]]:
    """The report written last; FileNotFoundError if there is none."""
    reports = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    if not reports:
        raise FileNotFoundError(f"no report in {folder}: there has been no run")
    return [json.loads(line) for line in reports[-1].read_text().splitlines()]


def remove(arguments: argparse.Namespace) -> int:
    """One run and its report; the exit code."""
    # On hosts only, where the package is; the planning above is tested anywhere.
    import psycopg

    dry_run = arguments.do == "dry-run"
    shift = 86400 * (arguments.today - datetime.now(tz=UTC).date()).days if arguments.today else 0
    os.umask(0o077)
    with (arguments.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run is under way", file=sys.stderr)
            return 1
        began = time.time()
        with psycopg.connect(DATABASE, autocommit=True) as directory:
            read_mail = ReadMail(arguments.state / "read.sqlite")
            mailboxes = Mailboxes.read(arguments.mailboxes)
            run = Run(directory, read_mail, mailboxes, dry_run=dry_run, clock=lambda: int(time.time()) + shift)
            outcome = run.all()
        moment = datetime.fromtimestamp(began + shift, tz=UTC)
        lines = report_lines(outcome, moment, time.time() - began, dry_run=dry_run)
        name = f"{moment:%Y-%m-%dT%H%M%SZ}{'-dry-run' if dry_run else ''}"
        write_report(arguments.state / "reports", lines, name, arguments.keep_reports, time.time())
        print("\n".join(table(lines)))
    return 1 if outcome.errors else 0


def main() -> int:
    """Do as the arguments say; the exit code."""
    parser = argparse.ArgumentParser(description="Remove the mail that its plan keeps no longer.")
    parser.add_argument("do", choices=["run", "dry-run", "report"], help="report: print the last one")
    parser.add_argument("--state", type=Path, default=Path("/var/lib/mailhosting/retention"), help="folder")
    parser.add_argument(
        "--mailboxes",
        type=Path,
        default=Path(__file__).with_name("retention_mailboxes.json"),
        help="names of mailboxes",
    )
    parser.add_argument("--keep-reports", type=int, default=90, metavar="DAYS")
    parser.add_argument(
        "--today", type=date.fromisoformat, metavar="DATE", help="for tests: as if it were this day (UTC)"
    )
    arguments = parser.parse_args()
    if arguments.do != "report":
        return remove(arguments)
    try:
        print("\n".join(table(last_report(arguments.state / "reports"))))
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
