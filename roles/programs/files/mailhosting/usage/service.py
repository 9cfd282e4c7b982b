# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills in missing values, corrects wrong ones, and collects usage for the directory, each when it is due."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ..common.errors import DoveadmError, SourceError, ValkeyError, ValkeyUnavailableError
from .model import Account

if TYPE_CHECKING:
    from .sources import Directory, Mailboxes, Valkey

LOG: Final = logging.getLogger(__name__)

#: Accounts of one measurement; between two of them the accounts that the gate asks for are measured.
BATCH: Final = 500
#: Days that counters are kept in Valkey, and the seconds of a day.
DAYS: Final = 40
DAY: Final = 86400
#: Seconds until the next attempt after a failure.
AGAIN: Final = 30


@dataclass(frozen=True)
class Times:
    """When each kind of work is due."""

    collect: int  # seconds between two collections
    compare_at: str  # HH:MM, the host's time


@dataclass
class Service:
    """Call `look` every few seconds."""

    directory: Directory
    valkey: Valkey
    mailboxes: Mailboxes
    times: Times
    _run_id: str = ""  # of the Valkey that was looked at last; empty: writes may have been lost since
    _not_before: dict[str, float] = field(default_factory=dict)  # Unix time by kind of work
    _failed: dict[str, str] = field(default_factory=dict)  # the last error by kind of work
    _unmeasured: dict[Account, float] = field(default_factory=dict)  # Unix time until which a mailbox is not measured
    _now: float = 0
    _collected: float = 0

    def look(self, now: float) -> None:
        """Do the due work.  `now`: Unix time."""
        self._now = now
        self._try("recheck", now, self._recheck, now, now)
        self._try("look", now, lambda: self._look(now), now, now)
        if now >= self._not_before.get("collect", 0):
            self._try("collect", now, lambda: self._collect(now), now + self.times.collect)

    def _look(self, now: float) -> None:
        run_id, epoch = self.valkey.state()
        # Dovecot's writes are lost while Valkey does not answer.  After a failure just now this waits.
        if run_id != self._run_id and self._not_before.get("compare", 0) > now + AGAIN:
            self._not_before["compare"] = now
        self._run_id = run_id
        self._try("wanted", now, self._wanted, now)
        if epoch is None:
            self._try("build", now, self._build, now)
        else:
            self._try("compare", now, self._compare, self._next_compare(now))

    def _try(self, what: str, now: float, do: Callable[[], None], then: float, again: float | None = None) -> None:
        """Do the work if it is due; the next time is `then`, or after a failure `again` (default: AGAIN seconds)."""
        if now < self._not_before.get(what, 0):
            return
        try:
            do()
        except SourceError as error:
            if isinstance(error, ValkeyUnavailableError):
                self._run_id = ""
            if self._failed.get(what) != str(error):
                LOG.warning("%s: %s", what, error)
            self._failed[what] = str(error)
            self._not_before[what] = now + AGAIN if again is None else again
        else:
            self._failed.pop(what, None)
            self._not_before[what] = then

    def _next_compare(self, now: float) -> float:
        here = datetime.fromtimestamp(now).astimezone()
        hour, _colon, minute = self.times.compare_at.partition(":")
        at = here.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
        return (at if at > here else at + timedelta(days=1)).timestamp()

    def _wanted(self) -> None:
        names = self.valkey.wanted()
        if names:
            known = self.valkey.used(self.directory.accounts(names))
            filled = self._fill([account for account, size in known.items() if size is None])
            _measured, wrong = self._measure([account for account, size in known.items() if size is not None])
            corrected = self._correct(wrong)
            LOG.info("asked for %d: %d were missing, %d wrong", len(names), filled, corrected)

    def _recheck(self) -> None:
        """Compare mailboxes with a changed quota: Dovecot checks thresholds only when mail changes."""
        now = self._now
        self._unmeasured = {account: until for account, until in self._unmeasured.items() if now < until}
        waiting = [account for account in self.directory.quota_rechecks() if account not in self._unmeasured]
        failure: DoveadmError | None = None
        for batch in _batches(waiting):
            measured: dict[Account, int] = {}
            try:
                measured = self.mailboxes.measure(batch)
            except DoveadmError as error:
                failure = error
            self.directory.compare_quotas(measured)
            # The directory still lists accounts that failed; they must not delay others.
            self._unmeasured |= dict.fromkeys(set(batch) - measured.keys(), now + AGAIN)
        if failure is not None:
            raise failure
        if waiting:
            LOG.info("compared %d mailboxes with quotas that changed", len(waiting))

    def _fill(self, accounts: Sequence[Account]) -> int:
        """Measure and write those of `accounts` that Valkey does not have; return how many."""
        return self.valkey.fill(self.mailboxes.measure(accounts)) if accounts else 0

    def _batches(self, accounts: Sequence[Account]) -> Iterator[Sequence[Account]]:
        for batch in _batches(accounts):
            yield batch
            self._wanted()
            self._try("recheck", self._now, self._recheck, self._now, self._now)

    def _build(self) -> None:
        """Fill in all missing values, and record that usage is complete."""
        run_id = self._run_id
        accounts = self.directory.accounts()
        filled = self._fill_all(accounts)
        # Each run of Valkey has an epoch of its own, because counts of another run are not in this one.
        if self.valkey.state()[0] != run_id:
            raise ValkeyUnavailableError("Valkey was restarted meanwhile")
        if left := [account.username for account, size in self.valkey.used(accounts).items() if size is None]:
            LOG.warning("usage of %d accounts is unknown, such as %s", len(left), left[0])
        self.valkey.complete(secrets.token_hex(8))
        LOG.info("usage of %d accounts is complete, of which %d were missing", len(accounts), filled)

    def _fill_all(self, accounts: Sequence[Account]) -> int:
        missing = [account for account, size in self.valkey.used(accounts).items() if size is None]
        return sum(self._fill(batch) for batch in self._batches(missing))

    def _compare(self) -> None:
        """Compare mailboxes with Valkey and with their quotas; remove the keys of removed accounts."""
        accounts = self.directory.accounts()
        filled = self._fill_all(accounts)
        corrected = 0
        for batch in self._batches(accounts):
            measured, wrong = self._measure(batch)
            self.directory.compare_quotas(measured)
            corrected += self._correct(wrong)
        gone = self.valkey.known() - {(account.id, account.username) for account in accounts}
        # An account may have been created since.
        gone -= {(account.id, account.username) for account in self.directory.accounts(name for _id, name in gone)}
        forgotten = self.valkey.forget(gone)
        LOG.info(
            "compared %d accounts: %d were missing, %d wrong, %d gone", len(accounts), filled, corrected, forgotten
        )

    def _correct(self, accounts: Collection[Account]) -> int:
        """Replace values of `accounts` that are wrong now and were wrong a moment ago; return how many."""
        # A mail may have come between the two looks, so only a value that is wrong twice is corrected.
        _measured, wrong = self._measure(accounts)
        return self.valkey.correct(wrong) if wrong else 0

    def _measure(self, accounts: Collection[Account]) -> tuple[dict[Account, int], dict[Account, tuple[int, int]]]:
        """Bytes in the mailboxes; and for each wrong value in Valkey the value before and the right one."""
        if not accounts:
            return {}, {}
        before = self.valkey.used(list(accounts))
        measured = self.mailboxes.measure(before)
        wrong = {
            account: (had, measured[account])
            for account, had in before.items()
            if had is not None and account in measured and had != measured[account]
        }
        return measured, wrong

    def _epoch(self) -> str:
        """The epoch of this run of Valkey.  Raises: ValkeyError while its usage is incomplete."""
        epoch = self.valkey.state()[1]
        if epoch is None:
            raise ValkeyError("usage is not complete in Valkey yet")
        return epoch

    def _collect(self, now: float) -> None:
        """Write usage and counts to the directory; without Valkey only what the directory knows."""
        today = datetime.fromtimestamp(now, UTC).date()
        try:
            epoch = self._epoch()
            accounts = self.directory.accounts()
            # Accounts without a value yet.
            self._fill_all(accounts)
            used = self.valkey.used(accounts)
            # Counts from when this program did not run are still in Valkey.
            days = [today - timedelta(days=back) for back in range(2 if now - self._collected < DAY else DAYS)]
            counters = self.valkey.counters(days, self.directory.tenants())
        except SourceError:
            self.directory.record_day(today)
            raise
        self.directory.record(
            {account.id: size for account, size in used.items() if size is not None}, today, counters, epoch
        )
        self._collected = now
        LOG.info("collected what %d accounts use", len(used))


def _batches(accounts: Sequence[Account]) -> Iterator[Sequence[Account]]:
    for start in range(0, len(accounts), BATCH):
        yield accounts[start : start + BATCH]
