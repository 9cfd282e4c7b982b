# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting lock and unlock with a real directory, and stand-ins for Postfix's queue, doveadm and the journal."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import reconcile as reconciling
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import Options
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import (
    Account,
    Alias,
    Desired,
    Domain,
    Tenant,
)
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, Store, connect

from . import command_line

TARO, HANAKO = "taro@acme.example", "hanako@acme.example"
ARRIVED = 1_796_000_000
#: As Dovecot 2.4 and Postfix 3.10 write them; journalctl prints the newest first.
DOVECOT = "mx1 dovecot[7]: {}-login: Logged in: user=<{}>, method=PLAIN, rip={}, lip=192.0.2.100, mpid=9, TLS"
POSTFIX = "mx1 postfix/submission/smtpd[8]: 4X9: client=unknown[{}], sasl_method=PLAIN, sasl_username={}"
POSTQUEUE = """\
#!/bin/sh
case $1 in -j) cat {folder}/queue ;; -f) echo flushed >>{folder}/asked ;; esac
"""
NAMES = ("taro", "hanako")
DESIRED = Desired(
    plans={"basic": {}},
    tenants={
        "acme": Tenant(
            "acme",
            "basic",
            domains={"acme.example": Domain("acme.example")},
            accounts={f"{name}@acme.example": Account(name, "acme.example") for name in NAMES},
            aliases={
                "own@acme.example": Alias("own", "acme.example", (TARO,)),
                "sales@acme.example": Alias("sales", "acme.example", (TARO, HANAKO)),
            },
        )
    },
)

#: It moves ids from standard input to or from the hold queue.
POSTSUPER = """\
#!/usr/bin/env python3
import json, sys
mails = [json.loads(line) for line in open("{folder}/queue")]
ids = sys.stdin.read().split()
open("{folder}/asked", "a").write(" ".join([*sys.argv[1:], *ids]) + "\\n")
for mail in mails:
    if mail["queue_id"] in ids:
        mail["queue_name"] = "hold" if sys.argv[1] == "-h" else "deferred"
open("{folder}/queue", "w").write("".join(json.dumps(mail) + "\\n" for mail in mails))
"""
DOVEADM = """\
#!/bin/sh
case "$*" in
"-f tab who") echo username; cat {folder}/sessions ;;
"kick "*) grep -v -x "$2" {folder}/sessions >{folder}/left; mv {folder}/left {folder}/sessions ;;
"user -f home "*) echo {folder}/home ;;
esac
"""


@dataclass
class Host:
    folder: Path
    place: Dsn
    fields: dict[str, Any]
    ids: dict[str, int]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return command_line.run(self.fields, *arguments, path=self.folder)

    def asked(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def lock(self, reason: str = "phished") -> dict[str, Any]:
        return self.asked("lock", TARO, "--reason", reason)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(connect(self.place)) as connection:
            done = connection.execute(query.encode(), values)
            return done.fetchall() if done.description else []

    def holds(self) -> list[tuple[str, str, str]]:
        found = self.rows("SELECT scope, origin, reason FROM directory.hold ORDER BY origin, scope")
        return [(scope, origin, reason) for scope, origin, reason in found]

    def may(self, username: str = TARO) -> tuple[bool, bool]:
        """Whether it may log in, and send."""
        found = self.rows(
            "SELECT may_login, may_send FROM directory.standing WHERE local_part || '@' || domain = %s", username
        )
        return found[0][0], found[0][1]

    def queue(self, **mails: tuple[str, str]) -> None:
        """Have mails in the queue by id: the queue's name and the sender."""
        lines = [
            json.dumps({"queue_name": name, "queue_id": queue_id, "arrival_time": ARRIVED, "sender": sender})
            for queue_id, (name, sender) in mails.items()
        ]
        (self.folder / "queue").write_text("".join(f"{line}\n" for line in lines))

    def queues(self) -> dict[str, str]:
        mails = map(json.loads, (self.folder / "queue").read_text().splitlines())
        return {mail["queue_id"]: mail["queue_name"] for mail in mails}


@pytest.fixture
def host(place: Dsn, tmp_path: Path) -> Iterator[Host]:
    with closing(connect(place)) as connection:
        store = Store(connection)
        store.apply(reconciling.reconcile(store.load(), DESIRED, Options()), grace=0)
        ids = {address: row.id for address, row in store.load().accounts.items()}
    programs = {"postqueue": POSTQUEUE, "postsuper": POSTSUPER, "doveadm": DOVEADM}
    programs["journalctl"] = "#!/bin/sh\ncat {folder}/journal\n"
    for name, text in programs.items():
        (tmp_path / name).write_text(text.replace("{folder}", str(tmp_path)))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "journal").write_text("")
    (tmp_path / "sessions").write_text(f"{TARO}\n{HANAKO}\n")
    (tmp_path / "home" / "sieve").mkdir(parents=True)
    fields = {
        "clusters": tmp_path,
        "directory": f"host={place.host} dbname={place.database}",
        "gate_settings": "/nonexistent",
        "jails": "/nonexistent",
        "is_root": True,
    }
    made = Host(tmp_path, place, fields, ids)
    made.queue()
    yield made
    made.rows("DELETE FROM directory.held_mail")


def test_an_account_is_locked_and_unlocked(host: Host) -> None:
    host.queue(A1=("deferred", TARO), A2=("deferred", HANAKO), A3=("active", "Taro+list@ACME.example"))
    assert host.may() == (True, True)
    locked = host.lock()
    assert (locked["placed"], locked["sessions_ended"], locked["held"]) == (["login", "send"], True, ["A1", "A3"])
    assert host.may() == (False, False)
    assert host.may(HANAKO) == (True, True)
    assert (host.folder / "sessions").read_text() == f"{HANAKO}\n"
    assert host.queues() == {"A1": "hold", "A2": "deferred", "A3": "hold"}

    unlocked = host.asked("unlock", TARO)
    assert (unlocked["lifted"], unlocked["released"], unlocked["reason"]) == (
        ["login", "send"],
        ["A1", "A3"],
        "phished",
    )
    assert host.may() == (True, True)
    assert set(host.queues().values()) == {"deferred"}
    assert (host.folder / "asked").read_text().splitlines() == ["-h - A1 A3", "-H - hold A1 A3", "flushed"]


def test_a_second_time_nothing_changes(host: Host) -> None:
    host.queue(A1=("deferred", TARO))
    host.lock()
    before = host.holds()
    again = host.lock("another reason")
    assert (again["placed"], again["sessions_ended"], again["held"], again["on_hold"]) == ([], False, [], ["A1"])
    assert again["reason"] == "phished"
    assert host.holds() == before
    assert host.run("lock", TARO, "--reason", "x").stdout.startswith(f"{TARO} was locked already: phished\n")
    host.asked("unlock", TARO)
    assert host.asked("unlock", TARO)["lifted"] == []
    assert host.run("unlock", TARO).stdout == f"{TARO} is not locked\n"


def test_what_others_hold_stays(host: Host) -> None:
    host.queue(A1=("hold", TARO), A2=("deferred", TARO), A3=("deferred", "own@acme.example"))
    number = host.ids[TARO]
    host.rows(
        "INSERT INTO directory.hold (account_id, scope, reason, origin) VALUES (%s, 'send', 'ticket', 'operator')",
        number,
    )
    host.rows("SELECT v1.gate_stop(%s, 'bulk_mail', '{}')", number)
    host.rows("SELECT v1.gate_keep('A1', %s, NULL, 'bulk_mail', %s)", number, ARRIVED + 1)
    others = [each for each in host.holds() if each[1] != "abuse"]
    assert len(others) == 2
    locked = host.lock()
    assert (locked["placed"], locked["held"], locked["on_hold"]) == (["login", "send"], ["A2", "A3"], ["A1"])
    unlocked = host.asked("unlock", TARO)
    assert host.holds() == others
    assert (unlocked["released"], unlocked["on_hold"], unlocked["other_holds"]) == (["A2", "A3"], ["A1"], ["send"])
    assert host.queues() == {"A1": "hold", "A2": "deferred", "A3": "deferred"}
    assert "other holds keep it from this: send" in host.run("unlock", TARO).stdout


def test_mail_that_an_operator_put_on_hold_stays_while_nothing_is_locked(host: Host) -> None:
    host.queue(A1=("hold", TARO))
    unlocked = host.asked("unlock", TARO)
    assert (unlocked["released"], unlocked["on_hold"]) == ([], ["A1"])
    assert host.queues() == {"A1": "hold"}


def test_mail_from_an_alias_of_several_is_named_and_left_alone(host: Host) -> None:
    host.queue(A1=("deferred", "sales@acme.example"), A2=("deferred", ""))
    locked = host.lock()
    assert (locked["held"], locked["shared"]) == ([], ["A1"])
    assert set(host.queues().values()) == {"deferred"}


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("two\nlines\tand \x1b[31mcolour", "two lines and [31mcolour"),
        ("x" * 10_000, "x" * 10_000),
        ("フィッシング被害 受付番号4711", "フィッシング被害 受付番号4711"),
        ('it\'s "$(quoted)"; -- %s {}', 'it\'s "$(quoted)"; -- %s {}'),
        ("bad \udcff octet", "bad octet"),
    ],
)
def test_whatever_the_reason_it_is_stored_in_one_line(host: Host, written: str, stored: str) -> None:
    assert host.lock(written)["reason"] == stored
    assert {reason for _scope, _origin, reason in host.holds()} == {stored}
    shown = host.run("locked-out", TARO).stdout
    assert shown.count(f": hold by `mailhosting lock`: {stored}\n") == 2
    assert shown.count(f"ended by `mailhosting unlock {TARO}`") == 2


def test_a_run_over_the_files_leaves_it_locked_and_changes_nothing(host: Host) -> None:
    host.lock()
    with closing(connect(host.place)) as connection:
        store = Store(connection)
        assert not reconciling.reconcile(store.load(), DESIRED, Options())
    assert host.may() == (False, False)


def test_recent_logins_are_told_once_a_client(host: Host) -> None:
    lines = [
        DOVECOT.format("imap", TARO, "192.0.2.1"),
        POSTFIX.format("2001:db8::2", TARO),
        DOVECOT.format("imap", TARO, "192.0.2.1"),
        DOVECOT.format("imap", HANAKO, "192.0.2.6"),
        DOVECOT.format("pop3", TARO, "192.0.2.1"),
        DOVECOT.format("imap", TARO, "192.0.2.5").replace("Logged in", "Login aborted"),
        *(DOVECOT.format("imap", TARO, f"198.51.100.{number}") for number in range(30)),
    ]
    stamped = [f"{ARRIVED - number}.123456 {line}" for number, line in enumerate(lines)]
    (host.folder / "journal").write_text("-- Boot --\n" + "\n".join(stamped))
    found = [(login["time"], login["protocol"], login["client"]) for login in host.lock()["logins"]]
    assert found[:4] == [
        (ARRIVED, "imap", "192.0.2.1"),
        (ARRIVED - 1, "submission", "2001:db8::2"),
        (ARRIVED - 4, "pop3", "192.0.2.1"),
        (ARRIVED - 6, "imap", "198.51.100.0"),
    ]
    assert len({client for _time, _protocol, client in found}) == 20
    assert "UTC submission from 2001:db8::2" in host.run("lock", TARO, "--reason", "x").stdout


def test_what_was_left_behind_is_named(host: Host) -> None:
    folder = host.folder / "home" / "sieve"
    for name, days in (("old", 30), ("new", 1), ("evil\nname", 2)):
        script = folder / f"{name}.sieve"
        script.touch()
        os.utime(script, times=(time.time() - days * 86400,) * 2)
    (host.folder / "home" / ".dovecot.sieve").symlink_to("sieve/old.sieve")
    forward = "UPDATE directory.account SET forward_to = %s, forward_keep = true WHERE id = %s"
    host.rows(forward, ["stranger@outside.example"], host.ids[TARO])
    locked = host.lock()
    # The old one was made the active one today.
    assert [(each["name"], each["active"]) for each in locked["filters"]] == [
        ("evil name", False),
        ("new", False),
        ("old", True),
    ]
    assert locked["forwards"] == ["stranger@outside.example"]
    assert locked["placed"] == ["filter", "forward", "login", "send"]
    assert locked["suspended"] == ["filter", "forward"]
    shown = host.run("lock", TARO, "--reason", "x").stdout.splitlines()
    assert "    forwarding to stranger@outside.example (suspended)" in shown
    (old,) = [line for line in shown if line.startswith("    active filter old, changed 20")]
    assert old.endswith(" (suspended)")
    (new,) = [line for line in shown if line.startswith("    filter new, changed 20")]
    assert not new.endswith(" (suspended)")
    assert host.rows("SELECT FROM directory.suspension WHERE account_id = %s", host.ids[HANAKO]) == []
    assert host.asked("unlock", TARO)["lifted"] == ["filter", "forward", "login", "send"]
    assert host.rows("SELECT FROM directory.suspension") == []


def test_a_filter_of_long_ago_goes_on_sorting(host: Host) -> None:
    script = host.folder / "home" / "sieve" / "old.sieve"
    script.touch()
    active = host.folder / "home" / ".dovecot.sieve"
    active.symlink_to("sieve/old.sieve")
    for path in (script, active):
        os.utime(path, times=(time.time() - 30 * 86400,) * 2, follow_symlinks=False)
    locked = host.lock()
    assert (locked["placed"], locked["suspended"], locked["filters"]) == (["login", "send"], [], [])


def test_what_fails_is_told_and_the_rest_is_done(host: Host) -> None:
    host.queue(A1=("deferred", TARO))
    working = (host.folder / "postsuper").read_text()
    (host.folder / "postsuper").write_text("#!/bin/sh\necho 'postsuper: fatal: no' >&2\nexit 1\n")
    done = host.run("lock", TARO, "--reason", "phished")
    assert (done.returncode, done.stderr) == (1, "postsuper: postsuper: fatal: no\n")
    # Nothing is said of what is not known.
    assert "its open sessions were ended" in done.stdout
    assert "put on hold" not in done.stdout
    assert (host.may(), (host.folder / "sessions").read_text()) == ((False, False), f"{HANAKO}\n")
    host.queue(A1=("hold", TARO))
    done = host.run("unlock", TARO)
    # It can be done again.
    assert (done.returncode, done.stdout, host.may()) == (1, "", (False, False))
    (host.folder / "postsuper").write_text(working)
    assert host.asked("unlock", TARO)["released"] == ["A1"]


def test_who_is_nobody_cannot_be_locked(host: Host) -> None:
    for arguments in (("lock", "sales@acme.example", "--reason", "x"), ("unlock", "nobody@acme.example")):
        done = host.run(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{arguments[1]}: there is no such account\n")
    host.fields["is_root"] = False
    assert host.run("lock", TARO, "--reason", "x").stderr == "this is for root\n"
    assert host.holds() == []
