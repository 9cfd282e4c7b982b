# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting locked-out with a real directory and Valkey, and a stand-in for fail2ban's client."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, connect
from mailhosting.cli import jails
from mailhosting.common.valkey import Valkey
from mailhosting.gate.model import HOST, Limit

from . import command_line
from .server import Server
from .test_limits_command import Settings, exceed, ids, settings

__all__ = ["ids", "settings"]  # fixtures

TARO, HANAKO = "taro@acme.example", "hanako@acme.example"
#: Says and does what fail2ban 1.1 does, with a file a jail.
AWAY = "2026-11-29 11:34:12,435 fail2ban                [2484]: ERROR   Failed to access socket. Is fail2ban running?"
FAIL2BAN = """\
#!/bin/sh
cd {folder}/held 2>/dev/null || {{ echo "{away}" >&2; exit 255; }}
case "$1 $3" in
"get banip") cat "$2" ;;
"set unbanip") grep -v -F "$4 " "$2" >"$2.new"; mv "$2.new" "$2"; echo 1 ;;
*) exit 2 ;;
esac
"""


@dataclass
class Host:
    """A host with all parts, and what its jails hold."""

    folder: Path
    fields: dict[str, Any]
    place: Dsn

    def hold_in(self, jail: str, *bans: str, since: float = 0, length: int = 600) -> None:
        began = since or time.time()
        times = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) for moment in (began, began + length)]
        lines = [f"{ban} \t{times[0]} + {length} = {times[1]}\n" for ban in bans]
        with (self.folder / "held" / jail).open("a") as file:
            file.write("".join(lines))

    def held(self, jail: str) -> list[str]:
        return [line.split()[0] for line in (self.folder / "held" / jail).read_text().splitlines()]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return command_line.run(self.fields, "locked-out", *arguments, path=self.folder)

    def asked(self, *arguments: str) -> dict[str, Any]:
        done = self.run("--json", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def write(self, query: str, *values: object) -> None:
        with closing(connect(self.place)) as connection:
            connection.execute(query.encode(), values)


@pytest.fixture
def host(settings: Settings, place: Dsn, ids: dict[str, int], tmp_path: Path) -> Host:  # noqa: ARG001
    (tmp_path / "held").mkdir()
    for jail in ("mail-login", "mail-address", "mail-tried"):
        (tmp_path / "held" / jail).touch()
    client = tmp_path / "fail2ban-client"
    client.write_text(FAIL2BAN.format(folder=tmp_path, away=AWAY))
    client.chmod(0o755)
    fields = {
        "gate_settings": settings.path,
        "jails": tmp_path / "held",
        "clusters": tmp_path,
        "directory": f"host={place.host} dbname={place.database}",
        "is_root": True,
    }
    return Host(tmp_path, fields, place)


def who(found: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(each["kind"], each["name"], each["cannot"]) for each in found]


def hold(host: Host, scope: str, **subject: object) -> None:
    """Dsn an operator's hold without end on an `account` or a `tenant`, by id."""
    ((kind, number),) = subject.items()
    host.write(
        f"INSERT INTO directory.hold ({kind}_id, scope, reason, origin) VALUES (%s, %s, 'phished', 'operator')",  # noqa: S608
        number, scope,
    )  # fmt: skip


def test_nobody_is_shut_out(host: Host) -> None:
    assert host.run().stdout == "nobody is shut out\n"
    assert host.run(TARO).stdout == f"{TARO} is not shut out\n"
    assert host.asked("acme") == {"name": "acme", "lifted": [], "shut_out": [], "failing": []}


def test_everybody_who_is_shut_out_is_shown(host: Host, valkey: Valkey, ids: dict[str, int]) -> None:
    host.hold_in("mail-login", f"{TARO},192.0.2.7")
    host.hold_in("mail-address", "192.0.2.9")
    host.hold_in("mail-tried", *(f"guess-{number}@acme.example,192.0.2.9" for number in range(7)))
    hold(host, "send", account=ids[TARO])
    hold(host, "login", tenant=ids["acme"])
    exceed(valkey, "account", ids[TARO], Limit("messages", 2, 3600, 600, ("send",)))
    found = host.asked()
    assert sorted(who(found["shut_out"])) == [
        ("hold", "acme", "log in"),
        ("hold", TARO, "send"),
        ("mail-address", "192.0.2.9", "reach the mail ports"),
        ("mail-login", TARO, "log in"),
        ("pause", TARO, "send"),
    ]
    assert found["failing"] == []
    text = host.run().stdout
    assert f"{TARO} from 192.0.2.7 cannot log in, since 20" in text
    assert "ended by `mailhosting locked-out 192.0.2.9 --lift`" in text
    assert "guess-4@acme.example and 2 more" in text
    assert "hold by operator: phished" in text
    assert "ended by the module mail_account with `release: [send]`" in text
    assert "cannot send, since 20" in text
    assert "it exceeded 2 messages in 1 h" in text


def test_when_it_ends_is_told(host: Host) -> None:
    since = int(time.time()) - 100
    host.hold_in("mail-login", f"{TARO},192.0.2.7", since=since)
    (shut_out,) = host.asked()["shut_out"]
    assert (shut_out["since"], shut_out["until"]) == (since, since + 600)
    assert ", in 8 min " in host.run().stdout


def test_an_account_is_shown_with_what_concerns_it(host: Host, valkey: Valkey, ids: dict[str, int]) -> None:
    host.hold_in("mail-login", f"{TARO},192.0.2.7", f"{HANAKO},192.0.2.7")
    host.hold_in("mail-tried", f"{TARO},192.0.2.9", f"{HANAKO},192.0.2.8", "taro%acme.example,192.0.2.9")
    host.hold_in("mail-address", "192.0.2.9", "192.0.2.8")
    hold(host, "receive", tenant=ids["acme"])
    exceed(valkey, "host", HOST, Limit("messages", 2, 60, 60, ("send",)))
    exceed(valkey, "account", 999, Limit("messages", 2, 60, 60, ("send",)))
    found = host.asked("Taro@ACME.example")
    assert found["name"] == TARO
    assert sorted(who(found["shut_out"])) == [
        ("hold", "acme", "receive"),
        ("mail-address", "192.0.2.9", "reach the mail ports"),
        ("mail-login", TARO, "log in"),
        ("pause", "host", "send"),
    ]
    assert [(each["client"], each["logins"]) for each in found["failing"]] == [("192.0.2.9", [TARO, TARO])]


def test_states_of_the_files_are_told_of_whom_is_named(host: Host) -> None:
    host.write("UPDATE directory.account SET state = 'suspended'")
    host.write("UPDATE directory.tenant SET state = 'no_login'")
    assert who(host.asked(TARO)["shut_out"]) == [
        ("state", "acme", "log in"),
        ("state", TARO, "log in, send or receive"),
    ]
    assert host.asked()["shut_out"] == []


def test_what_is_over_and_what_keeps_mail_shuts_nobody_out(host: Host, ids: dict[str, int]) -> None:
    hold(host, "retention", account=ids[TARO])
    hold(host, "send", tenant=ids["acme"])
    host.write("UPDATE directory.hold SET until = now() - interval '1 min' WHERE scope = 'send'")
    assert host.asked(TARO)["shut_out"] == []
    # A mailbox that is closed has no address.
    hold(host, "receive", account=ids[TARO])
    assert who(host.asked()["shut_out"]) == [("hold", TARO, "receive")]
    host.write("DELETE FROM directory.address WHERE account_id = %s", ids[TARO])
    assert host.asked()["shut_out"] == []


def test_what_began_by_itself_is_lifted(host: Host, valkey: Valkey, ids: dict[str, int]) -> None:
    host.hold_in("mail-login", f"{TARO},192.0.2.7", f"{TARO},192.0.2.8", f"{HANAKO},192.0.2.7")
    hold(host, "send", account=ids[TARO])
    exceed(valkey, "account", ids[TARO], Limit("messages", 2, 3600, 600, ("send",)))
    exceed(valkey, "tenant", ids["acme"], Limit("messages", 2, 3600, 600, ("send",)))
    found = host.asked(TARO, "--lift")
    assert [kind for kind, _name, _cannot in who(found["lifted"])] == ["mail-login", "mail-login", "pause"]
    # What somebody decided stays, and what is not its own.
    assert who(found["shut_out"]) == [("hold", TARO, "send"), ("pause", "acme", "send")]
    assert host.held("mail-login") == [f"{HANAKO},192.0.2.7"]
    assert who(host.asked(TARO)["shut_out"]) == who(found["shut_out"])
    assert host.run(TARO, "--lift").stdout.startswith(f"{TARO}: there is nothing to lift\n")
    assert host.run("acme", "--lift").stdout.startswith("acme can send again\n")


def test_a_client_is_let_in_again(host: Host) -> None:
    host.hold_in("mail-login", f"{TARO},192.0.2.7", f"{TARO},192.0.2.8", "x@y.example,2001:db8:0:7")
    host.hold_in("mail-address", "192.0.2.7", "2001:db8:0:7::/64")
    host.hold_in("mail-tried", f"{HANAKO},2001:db8:0:7")
    shown = host.asked("192.0.2.7")
    assert who(shown["shut_out"]) == [
        ("mail-login", TARO, "log in"),
        ("mail-address", "192.0.2.7", "reach the mail ports"),
    ]
    found = host.asked("2001:db8:0:7::42", "--lift")
    assert found["name"] == "2001:db8:0:7::/64"
    assert [each["logins"] for each in found["failing"]] == [[HANAKO]]
    assert len(found["lifted"]) == 2
    host.asked("192.0.2.7", "--lift")
    assert (host.held("mail-login"), host.held("mail-address")) == ([f"{TARO},192.0.2.8"], [])


def test_a_login_that_is_nobodys_is_found_and_lifted(host: Host) -> None:
    stranger = "nobody@acme.example"
    assert host.run(stranger).stderr == f"{stranger}: there is no such account\n"
    host.hold_in("mail-login", f"{stranger},192.0.2.7")
    assert "can log in again" in host.run(stranger, "--lift").stdout
    assert host.run("nobody").stderr == "nobody: there is no such tenant\n"


def test_what_does_not_answer_is_told_and_the_rest_is_shown(host: Host, ids: dict[str, int], server: Server) -> None:
    assert server
    (host.folder / "held").rename(host.folder / "gone")
    host.fields["jails"] = host.folder
    done = host.run()
    # Nobody may be, as far as fail2ban is concerned.
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("fail2ban: Failed to access socket. Is fail2ban running?")
    hold(host, "send", account=ids[TARO])
    assert "phished" in host.run().stdout
    host.fields["directory"] = "host=/nonexistent dbname=none"
    assert host.run(TARO).stderr.count("the directory: ") == 1


def test_parts_that_are_not_on_the_host_are_left_out(host: Host) -> None:
    host.fields["jails"] = host.fields["clusters"] = "/nonexistent"
    assert host.run().stdout == "nobody is shut out\n"
    host.fields["gate_settings"] = "/nonexistent"
    done = host.run()
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (3, 1, "")


def test_it_is_for_root(host: Host) -> None:
    host.fields["is_root"] = False
    assert (host.run().returncode, host.run().stderr) == (1, "this is for root\n")


def test_a_lift_needs_a_name(host: Host) -> None:
    done = host.run("--lift")
    assert (done.returncode, "--lift needs a NAME" in done.stderr, done.stderr.count("\n")) == (2, True, 1)


@pytest.mark.parametrize(
    ("written", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("2001:db8:0:7", "2001:db8:0:7::/64"),
        ("2001:db8:0:7::42", "2001:db8:0:7::/64"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("taro@acme.example", None),
        ("acme", None),
    ],
)
def test_a_client_is_a_network(written: str, client: str | None) -> None:
    found = jails.network_of(written)
    assert (None if found is None else jails.shown(found)) == client
