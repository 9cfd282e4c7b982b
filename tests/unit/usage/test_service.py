# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The usage service: when it does what, which of two writers wins, and what it does while something is down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from mailhosting.common.errors import DirectoryError, DoveadmError, ValkeyUnavailableError
from mailhosting.usage.model import Account
from mailhosting.usage.service import AGAIN, Service, Times

TARO = Account(1, "taro@acme.example", 10)
HANAKO = Account(2, "hanako@acme.example", 10)
BILL = Account(3, "bill@bolt.example", 11)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
TODAY = date(2026, 11, 22)


@dataclass
class Directory:
    """A stand-in for the directory."""

    there: list[Account] = field(default_factory=lambda: [TARO, HANAKO, BILL])
    down: bool = False
    recorded: list[Any] = field(default_factory=list)
    days: list[date] = field(default_factory=list)
    changed: list[Account] = field(default_factory=list)
    compared: list[dict[Account, int]] = field(default_factory=list)

    def quota_rechecks(self) -> list[Account]:
        self._up()
        return list(self.changed)

    def compare_quotas(self, used: Mapping[Account, int]) -> None:
        self._up()
        if used:
            self.compared.append(dict(used))
        self.changed = [account for account in self.changed if account not in used]

    def accounts(self, usernames: Iterable[str] | None = None) -> list[Account]:
        self._up()
        names = None if usernames is None else list(usernames)
        return [account for account in self.there if names is None or account.username in names]

    def tenants(self) -> list[int]:
        self._up()
        return sorted({account.tenant_id for account in self.there})

    def record(self, used: dict[int, int], day: date, counters: Any, epoch: str) -> None:
        self._up()
        self.recorded.append((used, day, counters, epoch))

    def record_day(self, day: date) -> None:
        self._up()
        self.days.append(day)

    def _up(self) -> None:
        if self.down:
            raise DirectoryError("the directory: away")


@dataclass
class Valkey:
    """A stand-in for Valkey, of dictionaries."""

    sizes: dict[Account, int] = field(default_factory=dict)
    run_id: str = "one"
    epoch: str | None = None
    missed: list[str] = field(default_factory=list)
    down: bool = False
    counted: dict[tuple[date, int], dict[str, int]] = field(default_factory=dict)
    asked: list[list[date]] = field(default_factory=list)

    def _up(self) -> None:
        if self.down:
            raise ValkeyUnavailableError("Valkey: away")

    def state(self) -> tuple[str, str | None]:
        self._up()
        return self.run_id, self.epoch

    def wanted(self) -> list[str]:
        self._up()
        names, self.missed = self.missed, []
        return names

    def used(self, accounts: Sequence[Account]) -> dict[Account, int | None]:
        self._up()
        return {account: self.sizes.get(account) for account in accounts}

    def fill(self, used: Mapping[Account, int]) -> int:
        self._up()
        new = {account: size for account, size in used.items() if account not in self.sizes}
        self.sizes |= new
        return len(new)

    def correct(self, corrections: Mapping[Account, tuple[int, int]]) -> int:
        self._up()
        right = {account: after for account, (before, after) in corrections.items() if self.sizes[account] == before}
        self.sizes |= right
        return len(right)

    def forget(self, gone: Iterable[tuple[int, str]]) -> int:
        names = set(gone)
        self.sizes = {account: size for account, size in self.sizes.items() if account[:2] not in names}
        return len(names)

    def known(self) -> set[tuple[int, str]]:
        return {(account.id, account.username) for account in self.sizes}

    def complete(self, epoch: str) -> None:
        self.epoch = epoch

    def counters(self, days: Iterable[date], tenant_ids: Iterable[int]) -> dict[date, dict[int, dict[str, int]]]:
        self.asked.append(list(days))
        found: dict[date, dict[int, dict[str, int]]] = {}
        for day in self.asked[-1]:
            for tenant_id in tenant_ids:
                if (day, tenant_id) in self.counted:
                    found.setdefault(day, {})[tenant_id] = self.counted[day, tenant_id]
        return found


@dataclass
class Mailboxes:
    """Dovecot's count of each mailbox; `meanwhile` runs during it."""

    sizes: dict[Account, int] = field(default_factory=lambda: {TARO: 100, HANAKO: 200, BILL: 300})
    down: bool = False
    meanwhile: Callable[[], None] = lambda: None
    asked: list[list[Account]] = field(default_factory=list)

    def measure(self, accounts: Iterable[Account]) -> dict[Account, int]:
        if self.down:
            raise DoveadmError("doveadm: away")
        self.asked.append(list(accounts))
        measured = {account: self.sizes[account] for account in self.asked[-1] if account in self.sizes}
        self.meanwhile()
        return measured


@pytest.fixture
def host() -> Service:
    return Service(Directory(), Valkey(), Mailboxes(), Times(collect=300, compare_at="03:50"))  # type: ignore[arg-type]


RIGHT = {TARO: 100, HANAKO: 200, BILL: 300}


def test_an_empty_valkey_is_filled_and_then_said_to_be(host: Any) -> None:
    host.look(NOON)
    assert host.valkey.sizes == RIGHT
    assert host.valkey.epoch


def test_every_life_of_valkey_has_a_name_of_its_own(host: Any) -> None:
    host.look(NOON)
    before, host.valkey.epoch = host.valkey.epoch, None
    host.valkey.sizes.clear()
    host.look(NOON + 2)
    assert host.valkey.sizes == RIGHT
    assert host.valkey.epoch not in (None, before)


def test_what_dovecot_wrote_meanwhile_stays(host: Any) -> None:
    host.mailboxes.meanwhile = lambda: host.valkey.sizes.update({TARO: 150})
    host.look(NOON)
    assert host.valkey.sizes == RIGHT | {TARO: 150}


def test_it_is_not_complete_while_mailboxes_cannot_be_measured(host: Any) -> None:
    host.mailboxes.down = True
    host.look(NOON)
    host.mailboxes.down = False
    host.look(NOON + 2)
    assert host.valkey.epoch is None
    host.look(NOON + AGAIN)
    assert host.valkey.epoch


def test_one_broken_mailbox_keeps_nobody_else_from_being_known(host: Any) -> None:
    del host.mailboxes.sizes[HANAKO]
    host.look(NOON)
    assert host.valkey.epoch
    assert host.valkey.sizes == {TARO: 100, BILL: 300}


def test_what_was_missed_is_filled_in_at_the_next_look(host: Any) -> None:
    host.look(NOON)
    host.mailboxes.asked.clear()
    del host.valkey.sizes[TARO]
    host.valkey.missed = [TARO.username, "nobody@acme.example"]
    host.look(NOON + 2)
    assert host.valkey.sizes == RIGHT


@pytest.fixture
def settled(host: Any) -> Any:
    """A host after one complete pass."""
    host.look(NOON)
    host.look(NOON + 2)
    host.mailboxes.asked.clear()
    return host


def test_nothing_is_measured_when_nothing_is_due(settled: Any) -> None:
    settled.look(NOON + 4)
    settled.look(NOON + 600)
    assert settled.mailboxes.asked == []


@pytest.mark.parametrize("what", ["restarted", "hung"])
def test_a_valkey_that_was_away_is_compared(settled: Any, what: str) -> None:
    settled.valkey.sizes[BILL] = 1
    if what == "restarted":
        settled.valkey.run_id = "two"
    else:
        settled.valkey.down = True
        settled.look(NOON + 4)
        settled.valkey.down = False
    settled.look(NOON + 6)
    assert settled.valkey.sizes == RIGHT


def test_comparing_that_fails_is_not_tried_at_every_look(settled: Any) -> None:
    def fall_silent() -> None:
        raise ValkeyUnavailableError("Valkey: timeout")

    settled.valkey.run_id = "two"
    settled.mailboxes.meanwhile = fall_silent
    for seconds in range(4, 124, 2):
        settled.look(NOON + seconds)
    assert len(settled.mailboxes.asked) <= 4 + 1


def test_a_valkey_that_is_lost_again_meanwhile_is_not_complete(host: Any) -> None:
    def lost() -> None:
        host.valkey.run_id = "two"
        host.valkey.sizes.clear()
        host.mailboxes.meanwhile = lambda: None

    host.mailboxes.meanwhile = lost
    host.look(NOON)
    assert host.valkey.state() == ("two", None)
    host.look(NOON + AGAIN)
    assert host.valkey.epoch
    assert host.valkey.sizes == RIGHT


def test_it_is_compared_every_night(settled: Any) -> None:
    settled.valkey.sizes[BILL] = 1
    at = datetime.fromtimestamp(NOON).astimezone().replace(hour=3, minute=50, second=0) + timedelta(days=1)
    settled.directory.compared.clear()
    settled.look(at.timestamp() - 1)
    assert settled.valkey.sizes[BILL] == 1
    settled.look(at.timestamp())
    assert settled.valkey.sizes == RIGHT
    # In the same pass: each mailbox was measured once, and again if Valkey's figure was wrong.
    assert settled.directory.compared == [RIGHT]
    assert settled.mailboxes.asked == [[TARO, HANAKO, BILL], [BILL]]


def test_what_changes_while_it_is_compared_is_left_alone(settled: Any) -> None:
    settled.valkey.sizes[BILL] = 1
    settled.valkey.run_id = "two"
    settled.mailboxes.meanwhile = lambda: settled.valkey.sizes.update({BILL: settled.valkey.sizes[BILL] + 7})
    settled.look(NOON + 4)
    assert settled.valkey.sizes[BILL] == 1 + 7 * 2


def test_keys_of_accounts_that_are_gone_go(settled: Any) -> None:
    settled.directory.there.remove(BILL)
    renamed = TARO._replace(username="jiro@acme.example")
    settled.directory.there[0] = renamed
    settled.mailboxes.sizes = {renamed: 100, HANAKO: 200}
    settled.valkey.run_id = "two"
    settled.look(NOON + 4)
    assert settled.valkey.sizes == {renamed: 100, HANAKO: 200}


def test_who_is_asked_for_is_put_right_at_once(settled: Any) -> None:
    settled.valkey.sizes[BILL] = 1
    settled.valkey.missed.append(BILL.username)
    settled.look(NOON + 4)
    assert settled.valkey.sizes == RIGHT


def test_many_accounts_are_measured_in_parts_and_whoever_waits_comes_between(host: Any) -> None:
    many = [Account(number, f"u{number}@acme.example", 10) for number in range(1200)]
    host.directory.there = [*many, TARO._replace(id=9999)]
    host.mailboxes.sizes = dict.fromkeys(host.directory.there, 5)
    host.mailboxes.meanwhile = lambda: (
        host.valkey.missed.append(TARO.username) if len(host.mailboxes.asked) == 1 else None
    )
    host.look(NOON)
    assert [len(asked) for asked in host.mailboxes.asked] == [500, 1, 500, 201]
    assert len(host.valkey.sizes) == 1201


def test_what_is_used_and_counted_is_collected(host: Any) -> None:
    yesterday = TODAY - timedelta(days=1)
    host.valkey.counted = {(TODAY, 10): {"sent_messages": 3}, (yesterday, 11): {"sent_messages": 1}}
    host.look(NOON)
    ((used, day, counters, epoch),) = host.directory.recorded
    assert used == {1: 100, 2: 200, 3: 300}
    assert day == TODAY
    assert counters == {TODAY: {10: {"sent_messages": 3}}, yesterday: {11: {"sent_messages": 1}}}
    assert epoch == host.valkey.epoch
    host.look(NOON + 299)
    assert len(host.directory.recorded) == 1
    host.look(NOON + 300)
    assert len(host.directory.recorded) == 2
    # At the start all days that may exist, then the last two.
    assert [len(days) for days in host.valkey.asked] == [40, 2]


def test_days_that_nobody_collected_are_made_up_for(settled: Any) -> None:
    settled.look(NOON + 3 * 86400)
    assert len(settled.valkey.asked[-1]) == 40


def test_a_new_account_is_known_when_it_is_collected(settled: Any) -> None:
    new = Account(4, "new@bolt.example", 11)
    settled.directory.there.append(new)
    settled.mailboxes.sizes[new] = 0
    settled.look(NOON + 400)
    assert settled.directory.recorded[-1][0][4] == 0
    assert settled.valkey.sizes[new] == 0


def test_without_valkey_addresses_are_still_counted(host: Any) -> None:
    host.valkey.down = True
    host.look(NOON)
    assert host.directory.days == [TODAY]
    assert host.directory.recorded == []
    host.valkey.down = False
    host.look(NOON + AGAIN)
    assert len(host.directory.recorded) == 1


def test_while_the_directory_is_away_it_goes_on(settled: Any, caplog: pytest.LogCaptureFixture) -> None:
    settled.directory.down = True
    settled.valkey.missed = [TARO.username]
    for seconds in range(400, 500, 2):
        settled.look(NOON + seconds)
    settled.directory.down = False
    settled.look(NOON + 600)
    assert len(settled.directory.recorded) == 2
    # Each once, not at every try.
    assert [record.message for record in caplog.records].count("collect: the directory: away") == 1


def test_a_quota_that_changed_is_compared_at_the_next_look(settled: Any) -> None:
    settled.directory.compared.clear()
    settled.directory.changed = [TARO]
    settled.look(NOON + 4)
    settled.look(NOON + 6)
    assert settled.directory.compared == [{TARO: 100}]
    assert settled.mailboxes.asked == [[TARO]]


def test_a_quota_that_changed_is_compared_without_valkey(settled: Any) -> None:
    settled.directory.compared.clear()
    settled.valkey.down = True
    settled.directory.changed = [TARO]
    settled.look(NOON + 4)
    assert settled.directory.compared == [{TARO: 100}]


def test_a_quota_that_changes_while_all_are_compared_does_not_wait_for_the_end(settled: Any) -> None:
    many = [Account(number, f"u{number}@acme.example", 10) for number in range(1200)]
    settled.directory.there = many
    settled.mailboxes.sizes = dict.fromkeys(many, 5)
    settled.valkey.sizes = dict.fromkeys(many, 5)
    settled.directory.compared.clear()
    settled.mailboxes.meanwhile = lambda: (
        settled.directory.changed.append(many[1100]) if len(settled.mailboxes.asked) == 1 else None
    )
    settled.valkey.run_id = "two"
    settled.look(NOON + 4)
    assert [len(compared) for compared in settled.directory.compared] == [500, 1, 500, 200]


@pytest.mark.parametrize("alone", [True, False])
def test_a_mailbox_that_cannot_be_measured_keeps_no_other_quota_waiting(settled: Any, alone: bool) -> None:
    settled.directory.compared.clear()
    settled.directory.changed = [HANAKO] if alone else [HANAKO, TARO]
    settled.mailboxes.down = alone
    del settled.mailboxes.sizes[HANAKO]
    settled.look(NOON + 4)
    settled.mailboxes.down = False
    settled.directory.changed.append(BILL)
    settled.look(NOON + 6)
    assert settled.directory.compared == [*([] if alone else [{TARO: 100}]), {BILL: 300}]
    # It is tried again, but not at every pass.
    settled.mailboxes.sizes[HANAKO] = 200
    settled.look(NOON + 8)
    assert settled.directory.changed == [HANAKO]
    settled.look(NOON + 4 + AGAIN)
    assert settled.directory.compared[-1] == {HANAKO: 200}
    assert settled.directory.changed == []


def test_many_quotas_that_changed_are_compared_in_parts(settled: Any) -> None:
    many = [Account(number, f"u{number}@acme.example", 10) for number in range(1001)]
    settled.mailboxes.sizes = dict.fromkeys(many, 5)
    settled.directory.changed = many
    settled.directory.compared.clear()
    settled.look(NOON + 4)
    assert [len(compared) for compared in settled.directory.compared] == [500, 500, 1]
