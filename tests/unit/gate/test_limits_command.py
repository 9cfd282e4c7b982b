# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting limits with a real Valkey and a real directory, and the module that runs it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import Options
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Account, Desired, Domain, Tenant
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.reconcile import reconcile
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, Store, connect
from ansible_collections.mailhosting.stack.plugins.modules import mail_limits
from mailhosting.common.valkey import Valkey
from mailhosting.gate.counters import Counters
from mailhosting.gate.model import HOST, Direction, Limit, LimitSubject, RateCharge, Scope

from . import command_line
from .server import Server

LIMIT = Limit("messages", 2, 86400, 5400, ("send", "receive"))

Run = Callable[..., subprocess.CompletedProcess[str]]
Task = Callable[..., dict[str, Any]]


class Settings:
    """The file, some of whose settings may be written anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._settings: dict[str, str] = {}

    def write(self, **settings: str) -> None:
        self._settings |= settings
        self.path.write_text(json.dumps(self._settings))


@pytest.fixture
def ids(place: Dsn) -> dict[str, int]:
    """The ids of a tenant and of an account of it, by name."""
    account = Account("taro", "acme.example")
    tenant = Tenant(
        "acme", "basic", domains={"acme.example": Domain("acme.example")}, accounts={"taro@acme.example": account}
    )
    with closing(connect(place)) as connection:
        store = Store(connection)
        desired = Desired(plans={"basic": {}}, tenants={"acme": tenant})
        store.apply(reconcile(store.load(), desired, Options()), grace=0)
        (number,) = connection.execute("SELECT tenant_id FROM v1.tenant_settings").fetchone() or (0,)
        return {"acme": number, "taro@acme.example": store.load().accounts["taro@acme.example"].id}


@pytest.fixture
def settings(server: Server, place: Dsn, tmp_path: Path) -> Settings:
    """What the gate's program is told, on a host whose sockets are elsewhere."""
    found = Settings(tmp_path / "settings.json")
    found.write(
        directory=f"host={place.host} dbname={place.database} user=mailhosting-gate options='-c statement_timeout=5s'",
        valkey_socket=server.path,
        valkey_user="gate",
        valkey_password_file=str(tmp_path / "none"),
    )
    return found


@pytest.fixture
def run(settings: Settings) -> Run:
    """The command, on such a host."""
    return partial(command_line.run, {"gate_settings": settings.path}, "limits")


def exceed(valkey: Valkey, scope: Scope, number: int, limit: Limit = LIMIT) -> None:
    counters = Counters(valkey, lambda _tenant_id: [])
    for _number in range(3):
        counters.commit([RateCharge(LimitSubject(scope, number, "send"), (limit,), 1, 5)], [])


def test_nothing_is_paused(run: Run) -> None:
    shown = run("show")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "nothing is paused\n", "")


def test_pauses_are_shown_by_name(run: Run, valkey: Valkey, ids: dict[str, int]) -> None:
    exceed(valkey, "tenant", ids["acme"])
    exceed(valkey, "account", ids["taro@acme.example"], Limit("recipients", 10, 60, None, ("send",)))
    exceed(valkey, "host", HOST, Limit("messages", 2, 60, 60, ("send",)))
    exceed(valkey, "account", 999, Limit("messages", 2, 60, 60, ("send",)))
    lines = run("show").stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "account taro@acme.example, sending",
        "account #999, sending",
        "host, sending",
        "tenant acme, receiving",
        "tenant acme, sending",
    ]
    assert lines[0].endswith("1 min left; it exceeded 10 recipients in 1 min")
    assert lines[-1].endswith("1 h 30 min left; it exceeded 2 messages in 1 d")


def test_what_somebody_has_used_is_shown(run: Run, valkey: Valkey, ids: dict[str, int]) -> None:
    counters = Counters(valkey, lambda _tenant_id: [])
    account = LimitSubject("account", ids["taro@acme.example"], "send")
    counters.commit([RateCharge(account, (Limit("messages", 200, 3600, None, ()), LIMIT), 1, 1)], [])
    lines = run("show", "Taro@acme.example").stdout.splitlines()
    assert [line.partition(" since")[0] for line in lines] == [
        "account taro@acme.example, sending: 1 of 200 messages in 1 h",
        "account taro@acme.example, sending: 1 of 2 messages in 1 d",
    ]
    assert run("show", "acme").stdout == "nothing is paused\n"


@pytest.mark.parametrize(("direction", "left"), [(None, []), ("send", ["receive"]), ("receive", ["send"])])
def test_a_pause_is_lifted(
    run: Run, valkey: Valkey, ids: dict[str, int], direction: Direction | None, left: list[Direction]
) -> None:
    exceed(valkey, "tenant", ids["acme"])
    lifted = run("lift", "acme", *([direction] if direction else []))
    assert lifted.returncode == 0
    assert "tenant acme, " in lifted.stdout
    assert [pause["direction"] for pause in json.loads(run("show", "acme", "--json").stdout)["pauses"]] == left
    again = run("lift", "acme", *([direction] if direction else []))
    assert (again.returncode, again.stdout) == (0, "nothing was paused\n")


def test_a_name_may_be_written_as_at_login(run: Run, valkey: Valkey, ids: dict[str, int]) -> None:
    exceed(valkey, "account", ids["taro@acme.example"])
    done = run("lift", "ｔａｒｏ＠ａｃｍｅ。ｅｘａｍｐｌｅ", "send")
    assert done.stdout.startswith("account taro@acme.example, sending: the pause is lifted")
    assert "太郎: there is no such tenant" in run("show", "太郎").stderr


def test_programs_get_json(run: Run, valkey: Valkey, server: Server, ids: dict[str, int]) -> None:
    exceed(valkey, "account", ids["taro@acme.example"])
    # A pause is never shown longer than it is: so it stays for however long the command takes to start.
    server.ask("PEXPIRE", f"mh:1:pause:account:{ids['taro@acme.example']}:send", 10**8)
    shown = json.loads(run("show", "--json", "--", "taro@acme.example").stdout)
    assert shown["windows"] == shown["holds"] == []
    pause = shown["pauses"][0]
    since = pause.pop("since")
    assert pause == {
        "scope": "account",
        "id": ids["taro@acme.example"],
        "name": "taro@acme.example",
        "direction": "send",
        "limit": {"unit": "messages", "most": 2, "per": 86400, "pause": 5400, "pause_applies_to": ["send", "receive"]},
        "seconds_left": 5400,
    }
    lifted = json.loads(run("lift", "--json", "--", "taro@acme.example", "send").stdout)
    assert lifted == {"lifted": [{**pause, "since": since}]}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["show", "nobody"], "nobody: there is no such tenant"),
        (["lift", "nobody@acme.example"], "nobody@acme.example: there is no such account"),
        (["lift", "@"], "@: there is no such account"),
    ],
)
def test_who_is_not_there_is_named(run: Run, ids: dict[str, int], arguments: list[str], complaint: str) -> None:
    assert ids
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", complaint)


@pytest.mark.parametrize("arguments", [[], ["lift"], ["lift", "acme", "both"], ["raise", "acme"]])
def test_what_is_no_command_is_explained(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: mailhosting limits" in done.stderr


def test_without_the_directory_pauses_are_shown_by_number(run: Run, valkey: Valkey, settings: Settings) -> None:
    exceed(valkey, "tenant", 7)
    settings.write(directory="host=/nonexistent dbname=none")
    done = run("show")
    assert done.returncode == 0
    assert "tenant #7, sending" in done.stdout
    assert done.stderr.startswith("the directory: ")
    assert run("lift", "acme").returncode == 1


@pytest.mark.parametrize("wrong", [{"valkey_socket": "/nonexistent"}, {"valkey_user": "nobody"}])
def test_without_valkey_it_fails(run: Run, settings: Settings, wrong: dict[str, str]) -> None:
    settings.write(**wrong)
    done = run("show")
    assert (done.returncode, done.stderr.startswith("Valkey: ")) == (1, True)


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_without_settings_it_fails(run: Run, settings: Settings, content: str | None) -> None:
    if content is None:
        settings.path.unlink()
    else:
        settings.path.write_text(content)
    done = run("show")
    # Without a gate on the host nothing is broken.
    code = 3 if content is None else 1
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert done.stderr.startswith(f"{settings.path}: ")


def test_it_has_the_gates_password(run: Run, server: Server, settings: Settings, tmp_path: Path) -> None:
    password = tmp_path / "gate"
    settings.write(valkey_password_file=str(password))
    server.ask("ACL", "SETUSER", "gate", "resetpass", ">secret")
    try:
        assert "WRONGPASS" in run("show").stderr
        password.write_text("secret")
        assert run("show").returncode == 0
    finally:
        server.ask("ACL", "SETUSER", "gate", "nopass")


# The module


@pytest.fixture
def task(
    settings: Settings,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Task:
    """`task(check=False, **options)`: the module's result."""
    program = tmp_path / "mailhosting"
    command = shlex.join(command_line.words({"gate_settings": settings.path}))
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)

    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        given = {**options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(given), pytest.raises(SystemExit):
            mail_limits.main()
        result: dict[str, Any] = json.loads(capfd.readouterr().out)
        return result

    return call


def test_the_module_shows_and_lifts(task: Task, valkey: Valkey, ids: dict[str, int]) -> None:
    assert task()["pauses"] == []
    exceed(valkey, "tenant", ids["acme"])
    found = task()
    assert (found["changed"], found["lifted"], found["windows"]) == (False, [], [])
    assert [(pause["name"], pause["direction"]) for pause in found["pauses"]] == [("acme", "receive"), ("acme", "send")]
    assert [pause["direction"] for pause in task(name="acme", direction="send")["pauses"]] == ["send"]

    for check in (True, False):
        lifted = task(name="acme", state="lifted", direction="send", check=check)
        assert lifted["changed"]
        assert [pause["direction"] for pause in lifted["lifted"]] == ["send"]
        assert [pause["direction"] for pause in lifted["pauses"]] == (["send"] if check else [])
        assert lifted["diff"] == {"before": "tenant acme may not send\n", "after": ""}
    again = task(name="acme", state="lifted", direction="send")
    assert (again["changed"], again["lifted"]) == (False, [])
    assert len(task(name="acme", state="lifted")["lifted"]) == 1
    assert task()["pauses"] == []


def test_the_module_says_what_is_wrong(task: Task, ids: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert ids
    assert "name" in task(state="lifted")["msg"]
    assert task(name="nobody", state="lifted")["msg"] == "nobody: there is no such tenant"
    assert task(name="--json")["msg"] == "--json: there is no such tenant"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "mailhosting.stack.gate" in task()["msg"]
