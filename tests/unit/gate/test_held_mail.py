# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is stopped and what mail waits: shown, released and dropped, with a real directory and a queue of a few lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, connect
from mailhosting.common.valkey import Valkey
from mailhosting.gate import bulk_mail_counts
from mailhosting.gate.bulk_mail_counts import Rule
from mailhosting.gate.fingerprint import Fingerprint

from .test_limits_command import Run, Task, ids, run, settings, task

__all__ = ["ids", "run", "settings", "task"]

RULE = Rule(recipients_per_content=5, invalid_recipients=5, per=3600)
RUN_OF_MAILS = Fingerprint(tuple(str(number) for number in range(16)), 11)
TARO = "taro@acme.example"

# Postfix's programs: a mail is [queue, id, arrival].
QUEUE_PROGRAM = """#!{python}
import json, sys, pathlib
file = pathlib.Path({file!r})
mails = json.loads(file.read_text())
if sys.argv[1] == "-j":
    for queue, number, arrival in mails:
        print(json.dumps({{"queue_name": queue, "queue_id": number, "arrival_time": arrival}}))
elif sys.argv[1:] != ["-f"]:
    action, _stdin, name = sys.argv[1:]
    wanted = sys.stdin.read().split()
    for mail in list(mails):
        if mail[0] == name and mail[1] in wanted:
            mails.remove(mail)
            mails += [["deferred", *mail[1:]]] if action == "-H" else []
    file.write_text(json.dumps(mails))
"""


@dataclass
class Queue:
    """Postfix's queue, and what the gate says of it."""

    file: Path
    place: Dsn

    def holds(self, queue_id: str, ago: int = 600, arrived: int = 601, queue: str = "hold", **whose: int) -> None:
        """The gate held a mail so many seconds ago; one with its id had arrived, or has since."""
        self.put([*self.mails(), [queue, queue_id, int(time.time()) - arrived]])
        with closing(connect(self.place)) as connection:
            account, tenant = whose.get("account"), whose.get("tenant")
            keep = "SELECT v1.gate_keep(%s, %s, %s, 'bulk_mail', %s)"
            connection.execute(keep, [queue_id, account, tenant, time.time() - ago])

    def known(self) -> list[str]:
        with closing(connect(self.place)) as connection:
            return [row[0] for row in connection.execute("SELECT queue_id FROM v1.held_mail ORDER BY 1").fetchall()]

    def put(self, mails: list[Any]) -> None:
        self.file.write_text(json.dumps(mails))

    def mails(self) -> list[Any]:
        return list(json.loads(self.file.read_text()))

    def ids(self, queue: str) -> list[str]:
        return [mail[1] for mail in self.mails() if mail[0] == queue]


@pytest.fixture
def queue(tmp_path: Path, place: Dsn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    folder = tmp_path / "postfix"
    folder.mkdir()
    made = Queue(tmp_path / "queue.json", place)
    made.put([])
    for name in ("postqueue", "postsuper"):
        program = folder / name
        program.write_text(QUEUE_PROGRAM.format(python=sys.executable, file=str(made.file)))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    yield made
    with closing(connect(place)) as connection:
        connection.execute("SELECT v1.forget_held_mail(array_agg(queue_id), array_agg(held_at)) FROM v1.held_mail")


def stop(place: Dsn, account: int, kind: str = "bulk_mail") -> None:
    with closing(connect(place)) as connection:
        connection.execute("SELECT v1.gate_stop(%s, %s, '{}')", [account, kind])


def stopped(place: Dsn) -> list[tuple[Any, ...]]:
    with closing(connect(place)) as connection:
        return list(connection.execute("SELECT kind FROM v1.gate_hold").fetchall())


@pytest.fixture
def held(queue: Queue, ids: dict[str, int], place: Dsn) -> Queue:
    """Two mails of taro's, who is stopped, one for his tenant, and others that must stay as they are."""
    stop(place, ids[TARO])
    queue.holds("A1", account=ids[TARO])
    queue.holds("A2", account=ids[TARO])
    queue.holds("T1", tenant=ids["acme"])
    # An account whose number is the tenant's.
    queue.holds("B1", account=ids["acme"] if ids["acme"] != ids[TARO] else 999)
    # Somebody released it by hand, and another mail got its id: one elsewhere, one that an administrator holds.
    queue.holds("A3", account=ids[TARO], arrived=10, queue="active")
    queue.holds("A4", account=ids[TARO], arrived=10)
    # It is only now on its way into the queue.
    queue.holds("A5", account=ids[TARO], ago=1, arrived=2, queue="incoming")
    queue.put([*queue.mails(), ["hold", "X1", 1]])
    return queue


def test_who_is_stopped_is_shown(run: Run, held: Queue) -> None:
    assert held
    lines = run("show").stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"account {TARO}, sending: stopped since ")
    assert lines[0].endswith("2 mails wait; bulk mail")
    assert lines[1].startswith("account #")
    assert lines[2] == "tenant acme, receiving: 1 mails wait; bulk mail"
    (shown,) = json.loads(run("show", TARO, "--json").stdout)["holds"]
    assert (shown["mails"], shown["kind"], shown["direction"], shown["seconds_left"]) == (2, "bulk_mail", "send", None)


def test_a_release_lets_go_what_is_the_accounts(run: Run, held: Queue, valkey: Valkey, ids: dict[str, int]) -> None:
    bulk_mail_counts.invalid(valkey, f"account:{ids[TARO]}", RULE, 5)
    before = held.mails()
    done = run("release", TARO)
    assert (done.returncode, done.stdout) == (0, f"account {TARO}, sending: released, 2 mails go on\n")
    assert held.ids("deferred") == ["A1", "A2"]
    assert [mail for mail in held.mails() if mail[0] != "deferred"] == [
        mail for mail in before if mail[1] not in ("A1", "A2")
    ]
    assert stopped(held.place) == []
    assert bulk_mail_counts.mail(valkey, f"account:{ids[TARO]}", RULE, None, 1) is None
    # Not what is on its way, nor others'; no longer what is gone.
    assert held.known() == ["A5", "B1", "T1"]
    assert run("release", TARO).stdout == "nothing was stopped\n"


def test_a_drop_deletes_it_and_the_account_stays_stopped(run: Run, held: Queue) -> None:
    before = held.mails()
    done = run("drop", TARO)
    assert done.stdout == f"account {TARO}, sending: 2 mails deleted; it stays stopped until it is released\n"
    assert held.mails() == [mail for mail in before if mail[1] not in ("A1", "A2")]
    assert stopped(held.place) == [("bulk_mail",)]
    assert run("drop", TARO).stdout == "no mail waited\n"
    assert run("release", TARO).stdout == f"account {TARO}, sending: released, 0 mails go on\n"
    assert stopped(held.place) == []


def test_the_mail_of_an_account_that_is_gone_is_known_by_its_number(run: Run, held: Queue) -> None:
    before = held.mails()
    (gone,) = [hold["name"] for hold in json.loads(run("show", "--json").stdout)["holds"] if hold["name"][0] == "#"]
    assert run("drop", gone).stdout == f"account {gone}, sending: 1 mails deleted\n"
    assert held.mails() == [mail for mail in before if mail[1] != "B1"]


def test_what_is_for_a_tenant_is_the_tenants(run: Run, held: Queue, valkey: Valkey, ids: dict[str, int]) -> None:
    key = f"tenant:{ids['acme']}"
    bulk_mail_counts.mail(valkey, key, RULE, RUN_OF_MAILS, 5)
    (shown,) = json.loads(run("show", "acme", "--json").stdout)["holds"]
    assert (shown["mails"], shown["since"], shown["direction"]) == (1, None, "receive")
    assert 3500 < shown["seconds_left"] <= 3600
    assert run("release", "acme").stdout == "tenant acme, receiving: released, 1 mails go on\n"
    assert held.ids("deferred") == ["T1"]
    assert stopped(held.place) == [("bulk_mail",)]
    assert bulk_mail_counts.mail(valkey, key, RULE, RUN_OF_MAILS, 4) is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["release", "host"], "host: only an account"), (["drop", "nobody"], "nobody: there is no such tenant")],
)
def test_what_cannot_be_released_is_said(run: Run, ids: dict[str, int], arguments: list[str], complaint: str) -> None:
    assert ids
    done = run(*arguments)
    assert (done.returncode, done.stderr.startswith(complaint)) == (1, True)


def test_without_postfix_nothing_is_forgotten(run: Run, held: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    done = run("release", TARO)
    assert (done.returncode, done.stderr.startswith("postqueue: ")) == (1, True)
    assert "A1" in held.known()


def test_the_module_releases(task: Task, held: Queue) -> None:
    (shown,) = task(name=TARO)["holds"]
    assert shown["mails"] == 2
    for check in (True, False):
        done = task(name=TARO, state="released", check=check)
        assert done["changed"]
        assert done["released"] == [shown]
        assert done["holds"] == ([shown] if check else [])
        waiting = f"account {TARO} is stopped\naccount {TARO} has 2 mails that wait\n"
        assert done["diff"] == {"before": waiting, "after": ""}
        assert held.ids("deferred") == ([] if check else ["A1", "A2"])
    again = task(name=TARO, state="released")
    assert (again["changed"], again["released"]) == (False, [])


def test_the_module_drops(task: Task, held: Queue) -> None:
    for check in (True, False):
        done = task(name=TARO, state="dropped", check=check)
        assert (done["changed"], done["lifted"], done["released"]) == (True, [], [])
        assert [hold["mails"] for hold in done["dropped"]] == [2]
        assert [hold["mails"] for hold in done["holds"]] == [2 if check else 0]
        assert done["diff"]["after"] == f"account {TARO} is stopped\n"
        assert ("A1" in held.ids("hold")) is check
    assert not task(name=TARO, state="dropped")["changed"]
    assert not task(name="acme", state="released", direction="send")["changed"]
    assert task(name="acme", state="dropped")["changed"]
