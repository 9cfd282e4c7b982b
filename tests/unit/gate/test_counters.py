# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits, pauses, pools and counts in a real Valkey."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mailhosting.common.valkey import Valkey
from mailhosting.gate.counters import Counters
from mailhosting.gate.model import (
    HOST,
    Allowed,
    DailyCount,
    Direction,
    Limit,
    LimitSubject,
    Mailbox,
    Pause,
    RateCharge,
    Refused,
    SpaceCheck,
    Window,
)

from .server import Server

PACKAGES = Path(__file__).parents[3] / "roles" / "programs" / "files"
TENANT = LimitSubject("tenant", 7, "send")
BOTH: tuple[Direction, ...] = ("send", "receive")
HOUR = Limit("messages", 3, 3600, 7200, BOTH)
TARO, HANAKO = Mailbox(11, "taro@acme.example"), Mailbox(12, "hanako@acme.example")


@pytest.fixture
def members() -> list[Mailbox]:
    """Whose mailboxes every tenant has."""
    return []


@pytest.fixture
def counters(valkey: Valkey, members: list[Mailbox]) -> Counters:
    return Counters(valkey, lambda _tenant_id: members)


def charge(*limits: Limit, subject: LimitSubject = TENANT, messages: int = 1, recipients: int = 1) -> list[RateCharge]:
    return [RateCharge(subject, limits, messages, recipients)]


def send(counters: Counters, charges: Sequence[RateCharge], times: int = 1) -> Allowed | Refused:
    """The last of so many mails."""
    for _number in range(times - 1):
        assert counters.commit(charges, []) == Allowed()
    return counters.commit(charges, [])


def uses(server: Server, mailbox: Mailbox, used: int) -> None:
    server.ask("SET", f"mh:1:usage:{mailbox.account_id}/{mailbox.username}/quota/storage", used)


def in_mailbox(mailbox: Mailbox, needed: int, quota: int = 1000) -> SpaceCheck:
    return SpaceCheck("account", mailbox.account_id, quota, needed, mailbox)


def in_pool(needed: int, quota: int = 1000) -> SpaceCheck:
    return SpaceCheck("tenant", 7, quota, needed)


def refused_by(verdict: Allowed | Refused) -> Refused:
    assert isinstance(verdict, Refused), verdict
    return verdict


# Windows


def test_a_window_holds_so_many_and_then_a_pause_begins_once(counters: Counters) -> None:
    assert send(counters, charge(HOUR), 3) == Allowed()
    assert counters.check(charge(HOUR)) == Refused("exceeded", TENANT, HOUR, 7200, began=True)
    assert counters.check(charge(HOUR)) == Refused("paused", TENANT, HOUR, 7200)
    assert counters.commit(charge(HOUR), []) == Refused("paused", TENANT, HOUR, 7200)


def test_a_check_counts_nothing(counters: Counters, server: Server) -> None:
    before = server.ask("KEYS", "*")
    for _number in range(10):
        assert counters.check(charge(HOUR)) == Allowed()
    assert server.ask("KEYS", "*") == before


def test_a_refused_mail_counts_nowhere_and_prolongs_nothing(counters: Counters, server: Server) -> None:
    account = LimitSubject("account", 11, "send")
    charges = [*charge(HOUR), *charge(Limit("messages", 1, 60, None, ("send",)), subject=account)]
    assert counters.commit(charges, []) == Allowed()
    for key, milliseconds in (
        ("mh:1:rate:tenant:7:send:messages:3600", 1_000_000),
        ("mh:1:rate:account:11:send:messages:60", 20_000),
    ):
        server.ask("PEXPIRE", key, milliseconds)
    verdict = refused_by(counters.commit(charges, [], [DailyCount(7, {"sent_messages": 1})]))
    assert (verdict.subject, verdict.seconds_left, verdict.began) == (account, 20, True)
    server.ask("PEXPIRE", "mh:1:pause:account:11:send", 5_000)
    verdict = refused_by(counters.commit(charges, []))
    assert (verdict.kind, verdict.seconds_left) == ("paused", 5)
    assert server.ask("HGET", "mh:1:rate:tenant:7:send:messages:3600", "n") == b"1"
    assert server.ask("KEYS", "mh:1:day:*") == []


@pytest.mark.timing
def test_a_window_begins_with_its_first_message_and_is_fixed(counters: Counters, server: Server) -> None:
    limit = Limit("messages", 2, 3, None, ("send",))
    start = time.monotonic()
    assert send(counters, charge(limit)) == Allowed()
    time.sleep(1.1)
    assert send(counters, charge(limit)) == Allowed()
    assert refused_by(send(counters, charge(limit))).seconds_left == 2
    while isinstance(counters.check(charge(limit)), Refused):
        time.sleep(0.02)
    assert 2.9 < time.monotonic() - start < 4
    assert server.ask("EXISTS", "mh:1:rate:tenant:7:send:messages:3") == 0


def test_a_pause_of_its_own_length_lifts_by_itself_and_a_new_window_begins(counters: Counters) -> None:
    limit = Limit("messages", 2, 3600, 1, BOTH)
    assert send(counters, charge(limit), 2) == Allowed()
    assert counters.check(charge(limit)) == Refused("exceeded", TENANT, limit, 1, began=True)
    time.sleep(1.05)
    assert send(counters, charge(limit), 2) == Allowed()
    assert refused_by(send(counters, charge(limit))).began


def test_of_several_windows_the_first_that_is_broken_is_named(counters: Counters) -> None:
    hour, day = Limit("messages", 5, 3600, 60, ("send",)), Limit("messages", 2, 86400, 120, ("send",))
    people = Limit("recipients", 1, 3600, 30, ("send",))
    assert send(counters, charge(hour, day), 2) == Allowed()
    assert refused_by(counters.check(charge(hour, day, people))).limit == day
    assert refused_by(counters.check(charge(hour, day, people))).limit == day


def test_recipients_and_messages_are_counted_apart(counters: Counters) -> None:
    limits = (Limit("messages", 2, 3600, None, ()), Limit("recipients", 10, 3600, None, ()))
    assert send(counters, charge(*limits, recipients=9)) == Allowed()
    assert refused_by(send(counters, charge(*limits, recipients=2))).limit == limits[1]
    assert send(counters, charge(*limits, recipients=1)) == Allowed()
    assert refused_by(send(counters, charge(*limits))).limit == limits[0]


def test_directions_and_scopes_are_counted_apart(counters: Counters) -> None:
    limit = Limit("messages", 1, 3600, 60, ("send",))
    others = (
        LimitSubject("tenant", 7, "receive"),
        LimitSubject("tenant", 8, "send"),
        LimitSubject("account", 7, "send"),
    )
    for subject in (TENANT, *others, LimitSubject("host", HOST, "send")):
        assert send(counters, charge(limit, subject=subject)) == Allowed()


@pytest.mark.parametrize(("directions", "paused"), [(("send",), False), (BOTH, True)])
def test_a_pause_stops_one_direction_or_both(
    counters: Counters, directions: tuple[Direction, ...], paused: bool
) -> None:
    limit = Limit("messages", 1, 3600, 60, directions)
    receives = charge(subject=LimitSubject("tenant", 7, "receive"))
    send(counters, charge(limit), 2)
    assert refused_by(counters.check(charge(limit))).kind == "paused"
    verdict = counters.check(receives)
    assert (verdict != Allowed()) is paused
    if paused:
        assert verdict == Refused("paused", LimitSubject("tenant", 7, "receive"), limit, 60)


def test_who_is_paused_already_stays_so_as_long_as_before(counters: Counters, server: Server) -> None:
    limit = Limit("messages", 1, 3600, 60, BOTH)
    receives = LimitSubject("tenant", 7, "receive")
    send(counters, charge(limit), 2)
    server.ask("DEL", "mh:1:pause:tenant:7:send")
    server.ask("PEXPIRE", "mh:1:pause:tenant:7:receive", 9_000)
    send(counters, charge(limit), 2)
    assert refused_by(counters.check(charge(subject=receives))).seconds_left == 9


def test_a_limit_that_stops_nobody_refuses_until_its_window_ends(counters: Counters) -> None:
    limit = Limit("messages", 1, 3600, 60, ())
    send(counters, charge(limit))
    for _number in range(2):
        assert send(counters, charge(limit)) == Refused("exceeded", TENANT, limit, 3600)


def test_a_limit_of_nothing_lets_nothing_pass_and_pauses_nobody(counters: Counters, server: Server) -> None:
    limit = Limit("messages", 0, 3600, 7200, BOTH)
    for _number in range(2):
        assert send(counters, charge(limit)) == Refused("exceeded", TENANT, limit, None)
    assert server.ask("KEYS", "mh:1:pause:*") == []


def test_no_limit_lets_everything_pass(counters: Counters) -> None:
    assert send(counters, charge(Limit("messages", None, 3600, 7200, BOTH), recipients=10_000), 50) == Allowed()
    assert send(counters, charge(), 50) == Allowed()
    assert counters.commit([], []) == Allowed()


def test_a_mail_beyond_the_limit_by_itself_is_refused_and_pauses_nobody(counters: Counters) -> None:
    limit = Limit("recipients", 1000, 3600, 7200, BOTH)
    assert send(counters, charge(limit, recipients=10_000)) == Refused("exceeded", TENANT, limit, None)
    assert send(counters, charge(limit, recipients=1000)) == Allowed()
    assert refused_by(send(counters, charge(limit))).began


def test_a_check_begins_a_pause_only_where_a_window_is_used_up(counters: Counters, server: Server) -> None:
    """Who never sends the mail has not exceeded anything."""
    limit = Limit("recipients", 10, 3600, 60, BOTH)
    assert send(counters, charge(limit, recipients=4)) == Allowed()
    for _number in range(2):
        assert counters.check(charge(limit, recipients=7)) == Refused("exceeded", TENANT, limit, 3600)
    assert server.ask("KEYS", "mh:1:pause:*") == []
    assert counters.check(charge(limit, recipients=6)) == Allowed()
    assert send(counters, charge(limit, recipients=6)) == Allowed()
    assert counters.check(charge(limit)) == Refused("exceeded", TENANT, limit, 60, began=True)
    assert counters.check(charge(limit)) == Refused("paused", TENANT, limit, 60)


def test_a_mail_beyond_the_rest_of_a_window_begins_a_pause_when_it_is_sent(counters: Counters) -> None:
    limit = Limit("recipients", 10, 3600, 60, BOTH)
    assert send(counters, charge(limit, recipients=4)) == Allowed()
    assert send(counters, charge(limit, recipients=7)) == Refused("exceeded", TENANT, limit, 60, began=True)


def test_what_costs_nothing_passes(counters: Counters, server: Server) -> None:
    limits = (Limit("messages", 0, 3600, None, ()), Limit("recipients", 1, 3600, None, ()))
    assert send(counters, charge(*limits, messages=0)) == Allowed()
    assert send(counters, charge(*limits, messages=0, recipients=0)) == Allowed()
    assert server.ask("KEYS", "mh:1:rate:*") == [b"mh:1:rate:tenant:7:send:recipients:3600"]


def test_the_same_limit_twice_counts_once(counters: Counters) -> None:
    assert send(counters, charge(HOUR, HOUR), 3) == Allowed()
    other = Limit("messages", 4, 3600, 60, ("send",))
    assert send(counters, charge(other, other)) == Allowed()
    assert refused_by(counters.check(charge(other, HOUR))).limit == other


def test_the_same_party_twice_costs_the_sum(counters: Counters) -> None:
    limit = Limit("recipients", 10, 3600, None, ("send",))
    twice = charge(limit, recipients=5) * 2
    assert send(counters, twice) == Allowed()
    assert refused_by(send(counters, charge(limit))).kind == "exceeded"


@pytest.mark.parametrize("lasts", [10**9, None], ids=["clock set back", "no end"])
def test_windows_and_pauses_end_though_the_clock_is_set_back(
    counters: Counters, server: Server, lasts: int | None
) -> None:
    limit = Limit("messages", 1, 60, None, ("send",))

    def set_back(key: str) -> None:
        # Keys expire at a time of the clock.
        assert server.ask(*(("PEXPIRE", key, lasts) if lasts else ("PERSIST", key))) == 1

    send(counters, charge(limit))
    set_back("mh:1:rate:tenant:7:send:messages:60")
    assert refused_by(counters.check(charge(limit))).seconds_left == 60
    set_back("mh:1:pause:tenant:7:send")
    assert refused_by(counters.check(charge(limit))).seconds_left == 60
    for key in ("mh:1:rate:tenant:7:send:messages:60", "mh:1:pause:tenant:7:send"):
        left = server.ask("PTTL", key)
        assert isinstance(left, int)
        assert 59_000 < left <= 60_000


@pytest.mark.parametrize("mails", [5, 15])
def test_a_hundred_senders_pass_exactly_the_limit(server: Server, mails: int) -> None:
    """Two gates with 50 senders each; three mails in ten are given up in the middle."""
    assert sum(_senders(server, 50, mails, 1000, 0)) == min(1000, 100 * mails * 7 // 10)


def test_a_hundred_deliveries_at_once_never_overfill_a_pool(server: Server) -> None:
    assert sum(_senders(server, 50, 15, 10**9, 1000)) == 1000


def _senders(server: Server, senders: int, mails: int, most: int, pool: int) -> Iterator[int]:
    arguments: list[str | Path] = [PACKAGES, server.path, *map(str, (senders, mails, most, pool))]
    program: list[str | Path] = [sys.executable, Path(__file__).with_name("senders.py"), *arguments]
    processes = [subprocess.Popen(program, stdout=subprocess.PIPE) for _number in range(2)]
    for process in processes:
        out, _error = process.communicate(timeout=60)
        assert process.returncode == 0
        yield int(out)


# Pools and mailboxes


def test_a_mailbox_takes_what_fits_to_the_byte(counters: Counters, server: Server) -> None:
    uses(server, TARO, 900)
    assert counters.check([], [in_mailbox(TARO, 100)]) == Allowed()
    full = counters.check([], [in_mailbox(TARO, 101)])
    assert full == Refused("full", in_mailbox(TARO, 101))


def test_what_was_accepted_and_has_not_arrived_takes_room(counters: Counters, server: Server) -> None:
    uses(server, TARO, 0)
    assert counters.commit([], [in_mailbox(TARO, 600)]) == Allowed()
    assert refused_by(counters.commit([], [in_mailbox(TARO, 401)])).kind == "full"
    uses(server, TARO, 600)
    assert counters.commit([], [in_mailbox(TARO, 400)]) == Allowed()
    assert refused_by(counters.check([], [in_mailbox(TARO, 1)])).kind == "full"


@pytest.mark.parametrize("seed", range(5))
def test_while_nothing_is_deleted_room_is_exact_whenever_mail_arrives(
    counters: Counters, server: Server, seed: int
) -> None:
    choose = random.Random(seed)  # noqa: S311
    queue: list[int] = []
    accepted = arrived = 0
    uses(server, TARO, 0)
    for _step in range(200):
        if choose.random() < 0.5:
            size = choose.randint(1, 60)
            passed = counters.commit([], [in_mailbox(TARO, size, 2000)]) == Allowed()
            assert passed == (accepted + size <= 2000)
            if passed:
                accepted += size
                queue.append(size)
        elif queue:
            arrived += queue.pop(choose.randrange(len(queue)))
            if choose.random() < 0.7:  # Dovecot writes what is in use, and not always at once
                uses(server, TARO, arrived)
    assert accepted > 1900


def test_what_users_store_themselves_is_not_taken_for_arrivals(counters: Counters, server: Server) -> None:
    uses(server, TARO, 0)
    assert counters.commit([], [in_mailbox(TARO, 10)]) == Allowed()
    uses(server, TARO, 510)
    assert counters.commit([], [in_mailbox(TARO, 400)]) == Allowed()
    assert refused_by(counters.check([], [in_mailbox(TARO, 91)])).kind == "full"
    assert counters.commit([], [in_mailbox(TARO, 90)]) == Allowed()


def test_a_mailbox_that_was_emptied_takes_mail_again(counters: Counters, server: Server) -> None:
    uses(server, TARO, 990)
    assert refused_by(counters.check([], [in_mailbox(TARO, 11)])).kind == "full"
    uses(server, TARO, 0)
    assert counters.commit([], [in_mailbox(TARO, 11)]) == Allowed()


def test_a_mailbox_takes_one_mail_more_while_it_is_not_full(counters: Counters, server: Server) -> None:
    uses(server, TARO, 999)
    space = replace(in_mailbox(TARO, 500), free=1)
    assert counters.commit([], [space]) == Allowed()
    assert refused_by(counters.commit([], [space])).kind == "full"


def test_what_is_full_is_measured_anew(counters: Counters, server: Server) -> None:
    uses(server, TARO, 1000)
    assert refused_by(counters.check([], [in_mailbox(TARO, 1)])).kind == "full"
    assert server.ask("SMEMBERS", "mh:1:usage:wanted") == [TARO.username.encode()]


def test_deletions_hide_arrivals_for_forty_seconds_at_most(counters: Counters, server: Server) -> None:
    """Of a mailbox that is read and emptied all the time, mail that arrived long ago takes no room."""
    uses(server, TARO, 0)
    key = "mh:1:room:account:11"
    assert counters.commit([], [in_mailbox(TARO, 900)]) == Allowed()
    assert refused_by(counters.check([], [in_mailbox(TARO, 101)])).kind == "full"
    for _period in range(2):
        since = server.ask("HGET", key, "since")
        assert isinstance(since, bytes)
        server.ask("HSET", key, "since", int(since) - 20)
        assert counters.commit([], [in_mailbox(TARO, 10)]) == Allowed()
    assert counters.commit([], [in_mailbox(TARO, 980)]) == Allowed()
    assert refused_by(counters.commit([], [in_mailbox(TARO, 1)])).kind == "full"


def test_reservations_end_though_the_clock_is_set_back(counters: Counters, server: Server) -> None:
    uses(server, TARO, 0)
    counters.commit([], [in_mailbox(TARO, 900)])
    server.ask("HSET", "mh:1:room:account:11", "since", 4 * 10**9)
    server.ask("PERSIST", "mh:1:room:account:11")
    assert refused_by(counters.check([], [in_mailbox(TARO, 101)])).kind == "full"
    assert _time_to_live(server, "mh:1:room:account:11") <= 40
    assert counters.commit([], [in_mailbox(TARO, 100)]) == Allowed()
    since = server.ask("HGET", "mh:1:room:account:11", "since")
    assert isinstance(since, bytes)
    assert abs(int(since) - time.time()) < 5


def test_a_reservation_is_forgotten_forty_seconds_after_the_last(counters: Counters, server: Server) -> None:
    uses(server, TARO, 0)
    for _number in range(2):
        counters.commit([], [in_mailbox(TARO, 10)])
        assert 30 < _time_to_live(server, "mh:1:room:account:11") <= 40
        server.ask("EXPIRE", "mh:1:room:account:11", 10)


def _time_to_live(server: Server, key: str) -> int:
    left = server.ask("TTL", key)
    assert isinstance(left, int)
    assert left > 0
    return left


def test_a_check_reserves_nothing(counters: Counters, server: Server) -> None:
    uses(server, TARO, 0)
    for _number in range(5):
        assert counters.check([], [in_mailbox(TARO, 900)]) == Allowed()


def test_one_mail_to_several_mailboxes_of_a_pool_needs_the_sum(
    counters: Counters, server: Server, members: list[Mailbox]
) -> None:
    members += [TARO, HANAKO]
    uses(server, TARO, 100)
    uses(server, HANAKO, 200)
    assert refused_by(counters.commit([], [in_pool(350), in_pool(351)])) == Refused("full", in_pool(701))
    assert counters.commit([], [in_pool(350)] * 2) == Allowed()
    assert refused_by(counters.commit([], [in_pool(1)])).kind == "full"


def test_a_mail_that_does_not_fit_one_mailbox_counts_in_no_limit_and_no_other(
    counters: Counters, server: Server
) -> None:
    uses(server, TARO, 0)
    uses(server, HANAKO, 995)
    verdict = counters.commit(
        charge(HOUR), [in_mailbox(TARO, 10), in_mailbox(HANAKO, 10)], [DailyCount(7, {"sent_messages": 1})]
    )
    assert verdict == Refused("full", in_mailbox(HANAKO, 10))
    for pattern in ("mh:1:rate:*", "mh:1:room:*", "mh:1:day:*"):
        assert server.ask("KEYS", pattern) == []


def test_a_pool_of_thousands_of_mailboxes_is_summed_up_once(valkey: Valkey, server: Server) -> None:
    mailboxes = [Mailbox(number, f"user{number}@acme.example") for number in range(1, 2502)]
    pairs = [word for box in mailboxes for word in (f"mh:1:usage:{box.account_id}/{box.username}/quota/storage", 2)]
    server.ask("MSET", *pairs)
    asked: list[int] = []

    def accounts_of(tenant_id: int) -> Iterable[Mailbox]:
        asked.append(tenant_id)
        time.sleep(0.05)
        return iter(mailboxes)

    counters = Counters(valkey, accounts_of)
    with ThreadPoolExecutor(10) as pool:
        verdicts = list(pool.map(lambda _number: counters.check([], [in_pool(1, 5003)]), range(20)))
    assert verdicts == [Allowed()] * 20
    assert asked == [7]
    assert refused_by(counters.check([], [in_pool(2, 5003)])).kind == "full"
    left = server.ask("PTTL", "mh:1:total:7")
    assert isinstance(left, int)
    assert 0 < left <= 5000


def test_an_empty_pool_is_empty(counters: Counters) -> None:
    assert counters.check([], [in_pool(1000)]) == Allowed()
    assert refused_by(counters.check([], [in_pool(1001)])).kind == "full"


def test_unknown_usage_is_said_and_asked_for(counters: Counters, server: Server, members: list[Mailbox]) -> None:
    members += [TARO, HANAKO]
    uses(server, TARO, 5000)
    space = in_mailbox(HANAKO, 10**9)
    assert counters.check([], [in_mailbox(TARO, 0, 9999), space]) == Allowed((space,))
    assert server.ask("SMEMBERS", "mh:1:usage:wanted") == [HANAKO.username.encode()]
    server.ask("DEL", "mh:1:usage:wanted")
    space = in_pool(5000, 10_000)
    assert counters.commit([], [space]) == Allowed((space,))
    assert server.ask("SMEMBERS", "mh:1:usage:wanted") == [HANAKO.username.encode()]
    uses(server, HANAKO, 1)
    time.sleep(1.05)
    assert refused_by(counters.check([], [space])).kind == "full"


def test_a_pool_is_full_by_what_is_known_of_it(
    counters: Counters, server: Server, members: list[Mailbox], caplog: pytest.LogCaptureFixture
) -> None:
    members += [TARO, HANAKO]
    uses(server, TARO, 990)
    for count in (counters.check, counters.commit):
        assert count([], [in_pool(10)]) == Allowed((in_pool(10),))
        assert count([], [in_pool(11)]) == Refused("full", in_pool(11))
    # What waits is not told from what has arrived while a sum has gaps.
    assert server.ask("KEYS", "mh:1:room:*") == []
    assert caplog.messages == ["tenant 7: not known how much is in 1 of 2 mailboxes"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_garbage_is_unknown(counters: Counters, server: Server, members: list[Mailbox]) -> None:
    members.append(TARO)
    server.ask("SET", f"mh:1:usage:11/{TARO.username}/quota/storage", "many")
    spaces = [in_mailbox(TARO, 1), in_pool(1)]
    assert counters.check([], spaces) == Allowed(tuple(spaces))


def test_a_valkey_that_was_emptied_does_not_read_as_empty(
    counters: Counters, server: Server, members: list[Mailbox]
) -> None:
    members.append(TARO)
    uses(server, TARO, 10)
    server.ask("DEL", "mh:1:usage:epoch")
    spaces = [in_mailbox(TARO, 1), in_pool(1)]
    assert counters.commit(charge(HOUR), spaces) == Allowed(tuple(spaces))
    assert server.ask("SMEMBERS", "mh:1:usage:wanted") == [TARO.username.encode()]
    assert server.ask("KEYS", "mh:1:total:*") == []
    assert server.ask("HGET", "mh:1:rate:tenant:7:send:messages:3600", "n") == b"1"


def test_a_tenant_whose_mailboxes_cannot_be_told_is_the_callers_matter(valkey: Valkey) -> None:
    def accounts_of(_tenant_id: int) -> Iterable[Mailbox]:
        raise LookupError("the directory is down")

    counters = Counters(valkey, accounts_of)
    with pytest.raises(LookupError):
        counters.check([], [in_pool(1)])
    with pytest.raises(LookupError):
        counters.check([], [in_pool(1)])


# The day


def test_what_passes_is_tallied_with_it_and_what_is_refused_apart(counters: Counters, server: Server) -> None:
    limit = Limit("messages", 1, 3600, 60, ("send",))
    daily_counts = [
        DailyCount(7, {"sent_messages": 1, "sent_bytes": 20971520}),
        DailyCount(8, {"received_messages": 1}),
        DailyCount(7, {"sent_bytes": 1}),
    ]
    counters.commit(charge(limit), [], daily_counts)
    counters.commit(charge(limit), [], daily_counts)
    counters.count([DailyCount(7, {"sent_refused": 1}), DailyCount(9, {})])
    today = datetime.now(UTC).date()
    assert _hash(server, f"mh:1:day:{today}:7") == {
        b"sent_messages": b"1",
        b"sent_bytes": b"20971521",
        b"sent_refused": b"1",
    }
    assert _hash(server, f"mh:1:day:{today}:8") == {b"received_messages": b"1"}
    for tenant_id in (7, 8):
        assert 39 * 86400 < _time_to_live(server, f"mh:1:day:{today}:{tenant_id}") <= 40 * 86400
    assert server.ask("KEYS", f"mh:1:day:{today}:9") == []


def _hash(server: Server, key: str) -> dict[Any, Any]:
    found = server.ask("HGETALL", key)
    assert isinstance(found, list)
    return dict(zip(found[::2], found[1::2], strict=True))


# For the operator


def test_pauses_and_windows_are_shown_and_lifted(counters: Counters) -> None:
    account = LimitSubject("account", 11, "send")
    own = Limit("recipients", 20, 60, None, ("send",))
    assert send(counters, [*charge(HOUR), *charge(own, subject=account, recipients=5)], 3) == Allowed()
    began = int(time.time())
    send(counters, charge(HOUR))
    (receives, sends) = counters.pauses()
    assert (sends.subject, receives.subject) == (TENANT, LimitSubject("tenant", 7, "receive"))
    assert (sends.limit, receives.limit) == (HOUR, HOUR)
    assert abs(sends.since - began) <= 1
    assert sends.seconds_left == 7200
    assert counters.state("tenant", 7) == ([sends, receives], [])
    pauses, (window,) = counters.state("account", 11)
    assert pauses == []
    assert window == Window(account, "recipients", 60, 15, 20, window.since, 60)
    assert counters.state("tenant", 70) == ([], [])

    assert counters.lift(TENANT) == sends
    assert counters.lift(TENANT) is None
    assert counters.pauses() == [receives]
    assert send(counters, charge(HOUR), 3) == Allowed()


def test_there_is_nothing_to_lift_of_who_is_not_paused(counters: Counters) -> None:
    send(counters, charge(HOUR), 2)
    assert counters.lift(TENANT) is None
    (window,) = counters.state("tenant", 7)[1]
    assert (window.counted, window.most) == (2, 3)


def test_a_lifted_pause_that_lasts_until_its_window_ends_does_not_begin_again_at_once(counters: Counters) -> None:
    limit = Limit("messages", 2, 3600, None, ("send",))
    assert refused_by(send(counters, charge(limit), 3)).began
    assert isinstance(counters.lift(TENANT), Pause)
    assert send(counters, charge(limit), 2) == Allowed()


def test_a_pause_of_another_release_is_still_one(counters: Counters, server: Server) -> None:
    server.ask("HSET", "mh:1:pause:tenant:7:send", "limit", "other", "length", 60)
    server.ask("EXPIRE", "mh:1:pause:tenant:7:send", 60)
    assert counters.check(charge(HOUR)) == Refused("paused", TENANT, None, 60)
    assert counters.pauses() == [Pause(TENANT, None, 0, 60)]
