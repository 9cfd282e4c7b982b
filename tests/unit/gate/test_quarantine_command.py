# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting quarantine with a real directory and real files, and the module that runs it.

The scan of a release and Dovecot are stand-ins.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn
from ansible_collections.mailhosting.stack.plugins.modules import mail_quarantine
from mailhosting.gate.scan.findings import Finding

from . import command_line
from .lmtp_server import Mailboxes, mailboxes
from .quarantined import BILL, HANAKO, MAIL, TARO, Kept, ask, declare, kept

Run = Callable[..., subprocess.CompletedProcess[str]]
Task = Callable[..., dict[str, Any]]

#: What stands in for the scan: finds what a file says, in mail that it writes to another.
RESCAN = """#!{python}
import pathlib, sys
folder = pathlib.Path({folder!r})
(folder / "scanned").write_bytes(sys.stdin.buffer.read())
assert sys.argv[1:] == ["/clamd"], sys.argv
said = (folder / "findings").read_text()
if said.startswith("["):
    print(said)
else:
    sys.exit(said)
"""


@dataclass(frozen=True)
class There:
    """A host with a quarantine; `found` is what a scan finds today, or its error."""

    kept: Kept
    folder: Path
    boxes: Mailboxes

    def found(self, *findings: tuple[str, str], error: str = "") -> None:
        listed = [{"kind": kind, "name": name, "part": 1, "member": None} for kind, name in findings]
        (self.folder / "findings").write_text(error or json.dumps(listed))

    def scanned(self) -> bytes | None:
        file = self.folder / "scanned"
        return file.read_bytes() if file.exists() else None

    def ids(self) -> list[int]:
        return [entry for entry, *_rest in self.kept.entries()]


@pytest.fixture
def there(place: Dsn, tmp_path: Path) -> Iterator[There]:
    with mailboxes(tmp_path / "lmtp") as boxes, kept(place, tmp_path / "quarantine") as quarantine:
        made = There(quarantine, tmp_path, boxes)
        made.found()
        yield made


@pytest.fixture
def host(there: There, place: Dsn, tmp_path: Path) -> dict[str, Any]:
    settings = tmp_path / "settings.json"
    given = {
        "directory": f"host={place.host} dbname={place.database} user=mailhosting-gate",
        "valkey_socket": "/none",
        "valkey_user": "gate",
        "valkey_password_file": "/none",
        "quarantine": str(there.kept.folder),
        "quarantine_lmtp_socket": there.boxes.server_address,
        "clamd_socket": "/clamd",
    }
    settings.write_text(json.dumps(given))
    program = tmp_path / "rescan"
    program.write_text(RESCAN.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    return {"gate_settings": settings, "is_root": True, "rescan": [str(program)]}


@pytest.fixture
def run(host: dict[str, Any]) -> Run:
    return partial(command_line.run, host, "quarantine")


def test_what_is_kept_is_listed(run: Run, there: There) -> None:
    assert run("list").stdout == "nothing is kept\n"
    first, second = there.kept.keep(TARO, HANAKO)
    (third,) = there.kept.keep(holders=[there.kept.holder("bolt", recipient="all@bolt.example")], sender="")
    lines = run("list").stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == [str(first), str(second), str(third)]
    assert lines[0].endswith(f"  {TARO}, from x@far.example: Test.Eicar; 請求書")
    assert lines[2].endswith("  tenant bolt, from <>: Test.Eicar; 請求書")
    for name, ids in (
        (HANAKO, [second]), ("acme", [first, second]), ("bolt", [third]), (BILL, []), ("host", [first, second, third])
    ):  # fmt: skip
        found = json.loads(run("list", "--json", "--", name).stdout)["entries"]
        assert [entry["id"] for entry in found] == ids, name
    assert run("list", "nobody").stderr == "nobody: there is no such tenant\n"


def test_the_quarantine_is_searched(run: Run, there: There) -> None:
    (first,) = there.kept.keep(TARO, sender="Invoice@far.example")
    (second,) = there.kept.keep(HANAKO, subject="Your invoice", findings=(Finding("virus", "Win.X", 0),))
    (third,) = there.kept.keep(BILL, queue_id="4zzz")

    def found(*arguments: str) -> list[int]:
        return [entry["id"] for entry in json.loads(run("search", "--json", "--", *arguments).stdout)["entries"]]

    assert found("INVOICE") == [first, second]
    assert found("invoice", HANAKO) == [second]
    assert found("請求書") == [first, third]
    assert found("eicar.com") == [first, third]
    assert found("win.x") == [second]
    assert found("4zz") == [third]
    assert found("bolt.example") == [third]
    assert run("search", "nowhere").stdout == "nothing is found\n"


def test_all_of_an_entry_is_shown(run: Run, there: There) -> None:
    (entry,) = there.kept.keep(holders=[there.kept.holder(TARO, recipient="sales@acme.example")])
    lines = run("show", str(entry)).stdout.splitlines()
    assert lines[0].startswith(f"{entry}: kept 20")
    assert f" for {TARO}, until 20" in lines[0]
    assert lines[1:] == [
        "    tenant: acme",
        "    direction: inbound",
        "    from: x@far.example",
        "    to: sales@acme.example",
        "    subject: 請求書",
        "    queue id: 4fXY",
        f"    size: {len(MAIL)} octets",
        "    policy: strip",
        "    found: virus Test.Eicar in 請求書.zip/eicar.com",
    ]
    (shown,) = json.loads(run("show", "--json", str(entry)).stdout)["entries"]
    seven_days = shown.pop("expires_at") - shown.pop("kept_at")
    assert seven_days == 7 * 86400
    assert shown == {
        "id": entry,
        "tenant": "acme",
        "address": TARO,
        "direction": "inbound",
        "sender": "x@far.example",
        "recipient": "sales@acme.example",
        "subject": "請求書",
        "policy": "strip",
        "findings": [{"kind": "virus", "name": "Test.Eicar", "member": "請求書.zip/eicar.com"}],
        "octets": len(MAIL),
        "queue_id": "4fXY",
    }


@pytest.mark.parametrize("text", ["\x1b[2J\n0  forged", "=?x?y?z?=", "=?utf-8?b?!?=", "=?nonsense?q?a?="])
def test_no_mail_writes_on_the_operators_screen(run: Run, there: There, text: str) -> None:
    finding = Finding("virus", text, 0, text)
    (entry,) = there.kept.keep(TARO, subject=text, sender=text, findings=(finding,))
    listed, shown = run("list").stdout, run("show", str(entry)).stdout
    assert (listed.count("\n"), shown.count("\n")) == (1, 10)
    assert "\x1b" not in listed + shown


def test_clean_mail_is_released_into_the_mailbox_alone(run: Run, there: There) -> None:
    entry, other = there.kept.keep(TARO, HANAKO)
    done = run("release", str(entry))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{entry}: released into the mailbox of {TARO}\n"
    assert there.scanned() == MAIL
    assert there.boxes.delivered == [("<x@far.example>", f"<{TARO}>", MAIL)]
    # The other one's entry, and the file, stay.
    assert (there.ids(), there.kept.files()) == ([other], [MAIL])
    assert run("release", str(entry)).stderr == f"{entry}: there is no such mail in the quarantine\n"
    assert run("release", str(other)).returncode == 0
    assert (there.ids(), there.kept.files()) == ([], [])


def test_infected_mail_needs_the_flag(run: Run, there: There) -> None:
    (entry,) = there.kept.keep(TARO)
    there.found(("virus", "Test.Eicar"), ("encrypted", "ZIP"), ("virus", "Win.X"))
    done = run("release", str(entry))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{entry}: still infected with Test.Eicar, Win.X; --infected releases it all the same\n"
    assert (there.ids(), there.boxes.delivered) == ([entry], [])
    assert run("release", "--infected", str(entry)).returncode == 0
    assert len(there.boxes.delivered) == 1
    assert there.ids() == []


def test_what_is_no_virus_any_more_needs_no_flag(run: Run, there: There, place: Dsn) -> None:
    first, second = there.kept.keep(TARO, HANAKO)
    there.found(("encrypted", "ZIP"), ("limit", "depth"))
    assert run("release", str(first)).returncode == 0
    there.found(("virus", "Pdf.Exploit.Bad-1"))
    assert run("release", str(second)).returncode == 1
    ask(place, "SELECT v1.virus_decide('Pdf.Exploit.Bad-1', 'ignored')")
    assert run("release", str(second)).returncode == 0
    assert there.ids() == []


@pytest.mark.parametrize("infected", [[], ["--infected"]])
def test_without_a_scan_nothing_is_released(run: Run, there: There, infected: list[str]) -> None:
    (entry,) = there.kept.keep(TARO)
    there.found(error="clamd does not answer")
    done = run("release", *infected, str(entry))
    assert done.returncode == 1
    assert done.stderr == "the mail cannot be scanned, so it stays in the quarantine: clamd does not answer\n"
    assert (there.ids(), there.boxes.delivered) == ([entry], [])


@pytest.mark.parametrize(("reply", "said"), [("451 later", "451 later"), ("550 never", "550 never")])
def test_what_dovecot_does_not_take_stays(run: Run, there: There, reply: str, said: str) -> None:
    (entry,) = there.kept.keep(TARO)
    there.boxes.replies["."] = reply
    done = run("release", str(entry))
    assert done.returncode == 1
    assert done.stderr == f"{entry}: not delivered, it stays in the quarantine: {said}\n"
    assert (there.ids(), there.kept.files()) == ([entry], [MAIL])


def test_who_takes_no_mail_gets_none(run: Run, there: There, place: Dsn) -> None:
    (of_tenant,) = there.kept.keep(holders=[there.kept.holder("acme")])
    closed, suspended, fine = there.kept.keep(TARO, BILL, HANAKO)
    declare(place, HANAKO, BILL, purge=True)
    ask(place, "UPDATE directory.tenant SET state = 'suspended' WHERE name = 'bolt' RETURNING 1")
    done = run("release", *map(str, (of_tenant, closed, suspended, fine)))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{of_tenant}: it belongs to no account; it stays in the quarantine",
        f"{closed}: {TARO} takes no mail now; it stays in the quarantine",
        f"{suspended}: {BILL} takes no mail now; it stays in the quarantine",
    ]
    # The others are not held up.
    assert done.stdout == f"{fine}: released into the mailbox of {HANAKO}\n"
    assert there.ids() == [of_tenant, closed, suspended]


def test_a_name_that_had_another_holder_is_delivered_by_its_mark(run: Run, there: There, place: Dsn) -> None:
    declare(place, HANAKO, BILL, purge=True)
    declare(place, TARO, HANAKO, BILL)
    there.kept.keep(TARO)
    assert run("release", str(there.ids()[0])).returncode == 0
    ((_sender, recipient, _mail),) = there.boxes.delivered
    assert recipient != f"<{TARO}>"
    assert recipient.lower() == f"<{TARO}>"


@pytest.mark.parametrize("sender", ["", "a b@x.example", "太郎@x.example", "x>\x00<y@x.example"])
def test_a_sender_that_no_command_takes_is_left_out(run: Run, there: There, sender: str) -> None:
    (entry,) = there.kept.keep(TARO, sender=sender)
    assert run("release", str(entry)).returncode == 0
    assert there.boxes.delivered == [("<>", f"<{TARO}>", MAIL)]


def test_a_file_that_is_gone_is_said(run: Run, there: There) -> None:
    (entry,) = there.kept.keep(TARO)
    for file in there.kept.folder.iterdir():
        file.unlink()
    done = run("release", str(entry))
    assert (done.returncode, done.stderr.endswith(": No such file or directory\n")) == (1, True)
    assert run("drop", str(entry)).returncode == 0
    assert there.ids() == []


def test_entries_are_dropped(run: Run, there: There) -> None:
    first, second = there.kept.keep(TARO, HANAKO)
    (third,) = there.kept.keep(BILL, mail=b"other")
    done = run("drop", str(first), str(third), "999")
    assert (done.returncode, done.stderr) == (1, "999: there is no such mail in the quarantine\n")
    assert done.stdout == f"{first}: dropped, for {TARO}\n{third}: dropped, for {BILL}\n"
    assert (there.ids(), there.kept.files()) == ([second], [MAIL])
    assert there.boxes.delivered == []


def test_it_is_for_root_and_needs_the_gates_settings(host: dict[str, Any], there: There) -> None:
    assert there
    done = command_line.run({**host, "is_root": False}, "quarantine", "list")
    assert (done.returncode, done.stderr) == (1, "this is for root\n")
    Path(host["gate_settings"]).write_text("{}")
    done = command_line.run(host, "quarantine", "list")
    assert (done.returncode, "quarantine is missing" in done.stderr) == (1, True)


# The module


@pytest.fixture
def task(
    host: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Task:
    """`task(check=False, **options)`: the module's result."""
    program = tmp_path / "bin" / "mailhosting"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(command_line.words(host))} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)

    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        given = {**options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(given), pytest.raises(SystemExit):
            mail_quarantine.main()
        result: dict[str, Any] = json.loads(capfd.readouterr().out)
        return result

    return call


def ids(entries: list[dict[str, Any]]) -> list[int]:
    return [entry["id"] for entry in entries]


def test_the_module_shows(task: Task, there: There) -> None:
    first, second = there.kept.keep(TARO, HANAKO)
    (third,) = there.kept.keep(BILL, queue_id="4zzz")
    found = task()
    assert (found["changed"], ids(found["entries"]), found["released"], found["dropped"]) == (
        False, [first, second, third], [], []
    )  # fmt: skip
    assert ids(task(name="acme")["entries"]) == [first, second]
    assert ids(task(name=HANAKO, search="eicar")["entries"]) == [second]
    assert ids(task(search="4ZZ")["entries"]) == [third]
    assert ids(task(id=[third, 999])["entries"]) == [third]


@pytest.mark.parametrize(("state", "delivered"), [("released", 1), ("dropped", 0)])
def test_the_module_ends_entries(task: Task, there: There, state: str, delivered: int) -> None:
    mine, hers = there.kept.keep(TARO, HANAKO)
    lines = [f"{entry} for {who}, from x@far.example: Test.Eicar\n" for entry, who in ((mine, TARO), (hers, HANAKO))]
    for check in (True, False):
        done = task(id=[mine], state=state, check=check)
        assert done["changed"]
        assert (ids(done[state]), ids(done["entries"])) == ([mine], [mine] if check else [])
        assert done["diff"] == {"before": lines[0], "after": ""}
        assert there.ids() == ([mine, hers] if check else [hers])
        assert len(there.boxes.delivered) == (0 if check else delivered)
    again = task(id=[mine], state=state)
    assert (again["changed"], again[state], again["entries"]) == (False, [], [])


def test_the_module_releases_infected_mail_only_if_told(task: Task, there: There) -> None:
    (entry,) = there.kept.keep(TARO)
    there.found(("virus", "Test.Eicar"))
    assert "still infected with Test.Eicar" in task(id=[entry], state="released")["msg"]
    assert ids(task(id=[entry], state="released", infected=True)["released"]) == [entry]


def test_the_module_says_what_is_wrong(task: Task, there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    assert there
    assert "id" in task(state="released")["msg"]
    assert "mutually exclusive" in task(id=[1], name="acme")["msg"]
    assert task(name="--json")["msg"] == "--json: there is no such tenant"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "mailhosting.stack.gate" in task()["msg"]


def test_what_the_module_returns_is_documented(task: Task, there: There) -> None:
    documented = yaml.safe_load(mail_quarantine.RETURN)
    there.kept.keep(TARO)
    (found,) = task()["entries"]
    assert documented["entries"]["contains"].keys() == found.keys() == documented["entries"]["sample"][0].keys()
