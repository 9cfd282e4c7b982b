# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name of a virus that hits many tenants waits for an operator, with a real Valkey and a real directory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn
from mailhosting.common.errors import DirectoryError
from mailhosting.common.valkey import Valkey
from mailhosting.gate.directory import Directory
from mailhosting.gate.outbreak import OutbreakGuard, counted

from . import command_line
from .quarantined import ask, directory_of
from .server import Server
from .test_limits_command import settings

__all__ = ["settings"]

NAME = "Pdf.Exploit.Bad-1"


@pytest.fixture
def directory(place: Dsn) -> Iterator[Directory]:
    with directory_of(place) as made:
        yield made


@pytest.fixture
def guard(directory: Directory, valkey: Valkey) -> OutbreakGuard:
    return OutbreakGuard(directory, valkey)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the gate: the first number."""
    now = [1_796_000_000.5]
    monkeypatch.setattr("mailhosting.gate.outbreak.time.time", lambda: now[0])
    return now


def notices(place: Dsn) -> list[tuple[Any, ...]]:
    return ask(place, "SELECT kind, tenant_id, account_id, facts FROM directory.notice ORDER BY id")


def verdicts(guard: OutbreakGuard, tenants: int, name: str = NAME) -> list[str]:
    return [guard.verdict(name, number) for number in range(1, tenants + 1)]


def test_the_tenth_tenant_makes_mail_wait_and_the_operator_is_told_once(guard: OutbreakGuard, place: Dsn) -> None:
    assert verdicts(guard, 9) == ["accepted"] * 9
    assert notices(place) == []
    assert guard.verdict(NAME, 10) == "deferred"
    # Of all tenants, also those whose mail was treated before.
    assert verdicts(guard, 12) == ["deferred"] * 12
    told = ("virus_outbreak", None, None, {"virus": NAME, "count": 10})
    assert notices(place) == [told]
    # Of another name nobody has a doubt.
    assert guard.verdict("Win.Trojan.Real-2", 1) == "accepted"


def test_much_mail_of_a_few_tenants_is_an_attack_and_not_a_doubt(guard: OutbreakGuard) -> None:
    assert [guard.verdict(NAME, number % 9) for number in range(200)] == ["accepted"] * 200


def test_tenants_count_for_ten_minutes(guard: OutbreakGuard, clock: list[float], server: Server) -> None:
    assert verdicts(guard, 9) == ["accepted"] * 9
    clock[0] += 599
    # The first one's last mail is a new one.
    assert guard.verdict(NAME, 1) == "accepted"
    clock[0] += 1
    assert guard.verdict(NAME, 10) == "accepted"
    assert server.ask("ZRANGE", f"mh:1:virus:{NAME}", 0, -1) == [b"1", b"10"]
    assert 590 < int(str(server.ask("TTL", f"mh:1:virus:{NAME}"))) <= 600
    assert [guard.verdict(NAME, number) for number in range(2, 10)] == ["accepted"] * 7 + ["deferred"]


def test_it_waits_for_a_decision_however_long_and_whatever_valkey_forgets(
    guard: OutbreakGuard, clock: list[float], server: Server, place: Dsn
) -> None:
    verdicts(guard, 10)
    clock[0] += 10 * 86400
    server.ask("FLUSHALL")
    assert guard.verdict(NAME, 1) == "deferred"
    ask(place, "SELECT v1.virus_decide(%s, 'accepted')", NAME)
    assert verdicts(guard, 30) == ["accepted"] * 30
    ask(place, "SELECT v1.virus_decide(%s, 'ignored')", NAME)
    assert verdicts(guard, 30) == ["ignored"] * 30
    assert len(notices(place)) == 1


def test_many_at_once_tell_the_operator_once(guard: OutbreakGuard, place: Dsn) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: guard.verdict(NAME, number), range(60)))
    assert 51 <= found.count("deferred") < 60
    assert len(notices(place)) == 1


def test_without_valkey_infected_mail_waits(
    guard: OutbreakGuard, server: Server, place: Dsn, caplog: pytest.LogCaptureFixture
) -> None:
    with server.hung():
        assert guard.verdict(NAME, 1) == "deferred"
        # What an operator has decided needs no count.
        ask(place, "SELECT v1.virus_decide('Known', 'accepted')")
        assert guard.verdict("Known", 1) == "accepted"
    assert "its tenants are not counted: Valkey does not answer" in caplog.text
    assert notices(place) == []


def test_without_the_directory_it_raises(valkey: Valkey) -> None:
    with pytest.raises(DirectoryError):
        OutbreakGuard(Directory("host=/nonexistent dbname=none"), valkey).verdict(NAME, 1)


@pytest.mark.parametrize("name", ["太郎", "a b", "x*[?]y", "\\", "Test.Eicar.UNOFFICIAL(deadbeef:68)"])
def test_any_name_is_counted(guard: OutbreakGuard, valkey: Valkey, name: str) -> None:
    assert verdicts(guard, 10, name)[-2:] == ["accepted", "deferred"]
    assert counted(valkey) == {name: 10}


# The command


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(settings: Any) -> Run:
    return partial(command_line.run, {"gate_settings": settings.path, "is_root": True}, "virus")


def test_names_are_shown_with_what_is_decided(run: Run, guard: OutbreakGuard) -> None:
    assert run("list").stdout == "no virus was found in the last 10 min, and nothing was decided\n"
    verdicts(guard, 10)
    verdicts(guard, 2, "Win.Trojan.Real-2")
    run("ignore", "Old.Mistake")
    first, second, third = run("list").stdout.splitlines()
    assert first.startswith("Old.Mistake: ignored: mail with it passes, since 20")
    assert second.startswith(f"{NAME}: mail with it is deferred until you accept or ignore it, since 20")
    assert second.endswith("; mail of 10 tenants had it in the last 10 min")
    assert third == "Win.Trojan.Real-2: as the tenants' policies say; mail of 2 tenants had it in the last 10 min"
    names = json.loads(run("list", "--json").stdout)["names"]
    assert [(name["name"], name["verdict"], name["tenants"]) for name in names] == [
        ("Old.Mistake", "ignored", 0),
        (NAME, "deferred", 10),
        ("Win.Trojan.Real-2", None, 2),
    ]
    assert names[2]["since"] is None


@pytest.mark.parametrize(("command", "verdict"), [("accept", "accepted"), ("ignore", "ignored")])
def test_an_operator_decides(run: Run, guard: OutbreakGuard, command: str, verdict: str) -> None:
    verdicts(guard, 10)
    done = run(command, NAME)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{NAME}: {verdict}: ")
    assert guard.verdict(NAME, 11) == verdict
    assert run(command, NAME).stdout == f"{NAME} was {verdict}\n"
    assert json.loads(run(command, "--json", NAME).stdout) == {"name": NAME, "verdict": verdict, "changed": False}


def test_without_valkey_decisions_are_shown_and_made(run: Run, settings: Any) -> None:
    settings.write(valkey_socket="/nonexistent")
    assert run("accept", NAME).returncode == 0
    done = run("list")
    assert (done.returncode, done.stderr.startswith("Valkey: ")) == (1, True)
    assert done.stdout.startswith(f"{NAME}: accepted")


def test_it_is_for_root(settings: Any) -> None:
    for arguments in (["list"], ["accept", NAME]):
        done = command_line.run({"gate_settings": settings.path, "is_root": False}, "virus", *arguments)
        assert (done.returncode, done.stderr) == (1, "this is for root\n")
