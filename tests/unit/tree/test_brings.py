# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles declare that they bring to a host, and that ARCHITECTURE.md says the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from .conftest import REPOSITORY, Play

#: `ask(expression, **variables)`: what Ansible makes of it.
Ask: TypeAlias = Callable[..., Any]
#: Roles of site.yml that leave nothing on a host but what others have there.
NOTHING = {"tenants"}


def site() -> dict[str, Any]:
    (play,) = yaml.safe_load((REPOSITORY / "playbooks/site.yml").read_text())
    found: dict[str, Any] = play
    return found


def roles() -> list[str]:
    """Those of site.yml, by name."""
    listed = (entry if isinstance(entry, str) else entry["role"] for entry in site()["roles"])
    return [role.removeprefix("mailhosting.stack.") for role in listed]


@pytest.fixture
def ask(tmp_path: Path, play: Play) -> Ask:
    def evaluate(expression: str, **variables: Any) -> Any:
        answer = tmp_path / "answer"
        task = {"copy": {"content": f"{{{{ ({expression}) | to_json }}}}", "dest": str(answer)}}
        listed = [{"hosts": "all", "gather_facts": False, "tasks": [task]}]
        run = play(yaml.safe_dump(listed), "--extra-vars", json.dumps(variables))
        assert run.returncode == 0, run.stdout
        return json.loads(answer.read_text())

    return evaluate


def test_a_variable_of_the_host_wins_over_a_default(ask: Ask) -> None:
    expression = "query('mailhosting.stack.brings', 'state') | map(attribute='path')"
    assert "/var/vmail" in ask(expression)
    elsewhere = ask(expression, mail_base="/srv/mail")
    assert "/srv/mail" in elsewhere
    assert "/var/vmail" not in elsewhere


def test_kinds_come_in_the_order_of_the_roles_and_without_what_is_not_there(ask: Ask) -> None:
    variables = {"dovecot_protocols": ["imaps"], "postfix_srs_domain": ""}
    expression = "query('mailhosting.stack.brings', 'units', 'ports', without=['policy'])"
    found = ask(expression, **variables)
    assert found[:3] == ["clamav-daemon.service", "clamav-freshclam.service", "postgresql@17-main.service"]
    assert found[3:5] == ["mailhosting-directory-away.socket", "dovecot.service"]
    assert [entry for entry in found if isinstance(entry, int)] == [993, 25, 465, 587]
    assert "mailhosting-gate@in.service" in found
    assert "mailhosting-policy.service" not in found
    assert ask("query('mailhosting.stack.brings', 'loopback_ports')", **variables) == [10027, 10001, 10002]


def test_a_host_that_does_not_scan_has_no_scanner(ask: Ask) -> None:
    expression = "query('mailhosting.stack.brings', 'units', 'state', 'scanners')"
    found = ask(expression)
    assert found[:2] == ["clamav-daemon.service", "clamav-freshclam.service"]
    assert {"socket": "/run/clamav/clamd.ctl", "signatures": "/var/lib/clamav", "days": 3} in found
    assert "clamav" not in json.dumps(ask(expression, clamav_enabled=False))
    # Its signatures come with the run: nothing is to be fetched.
    assert "clamav-freshclam.service" not in ask(expression, clamav_databases=[])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("'unit'", "brings: unit is none of units, ports, loopback_ports, state, valkey, milters, scanners"),
        ("'units', without=['polici']", "brings: polici is none of clamav, directory, dovecot, fail2ban, gate,"),
    ],
)
def test_what_there_is_not(play: Play, arguments: str, said: str) -> None:
    message = f"{{{{ query('mailhosting.stack.brings', {arguments}) }}}}"
    run = play(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [{"debug": {"msg": message}}]}]))
    assert said in run.stdout + run.stderr


def test_every_role_of_a_host_declares_what_it_brings() -> None:
    declared = {
        path.parents[1].name
        for path in (REPOSITORY / "roles").glob("*/vars/main.yml")
        if f"__{path.parents[1].name}_brings" in yaml.safe_load(path.read_text())
    }
    assert declared == {*roles()} - NOTHING


def code(*entries: object) -> str:
    return ", ".join(f"`{entry}`" for entry in entries)


def as_row(role: str, brings: dict[str, list[Any]]) -> str:
    """A line of the table in ARCHITECTURE.md."""
    ports = [*brings.get("ports", []), *(f"127.0.0.1:{port}" for port in sorted(brings.get("loopback_ports", [])))]
    state = [f"{code(entry['path'])}{' (secret)' if entry['secret'] else ''}" for entry in brings.get("state", [])]
    users = [user["name"] for user in brings.get("valkey", [])]
    cells = (f"`{role}`", code(*brings["units"]), ", ".join(map(str, ports)), ", ".join(state), code(*users))
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def test_the_table_of_the_architecture_is_what_is_declared(ask: Ask) -> None:
    kinds = ("units", "ports", "loopback_ports", "state", "valkey")
    everybody = sorted({*roles()} - NOTHING)

    def brought(role: str, kind: str) -> str:
        others = [other for other in everybody if other != role]
        return f"query('mailhosting.stack.brings', '{kind}', without={others})"

    asked = ", ".join(
        f"'{role}': {{{', '.join(f'{kind!r}: {brought(role, kind)}' for kind in kinds)}}}" for role in everybody
    )
    # As site.yml configures a host of all roles.
    milters = "{{ query('mailhosting.stack.brings', 'milters') }}"
    found = ask(f"{{{asked}}}", postfix_milters=milters)
    table = "\n".join(as_row(role, brings) for role, brings in found.items())
    assert table in (REPOSITORY / "ARCHITECTURE.md").read_text(), table


def rendered(name: str, milters: list[dict[str, str]], folder: Path, play: Play) -> str:
    """A file of Postfix's."""
    role = REPOSITORY / "roles/postfix"
    template = {
        "src": str(role / "templates/postfix" / f"{name}.j2"),
        "dest": str(folder / name),
        "lstrip_blocks": True,
    }
    files = [str(role / "defaults/main.yml"), str(role / "vars/main.yml")]
    listed = [{"hosts": "all", "gather_facts": False, "vars_files": files, "tasks": [{"template": template}]}]
    run = play(yaml.safe_dump(listed), "--extra-vars", json.dumps({"postfix_milters": milters}))
    assert run.returncode == 0, run.stdout
    return (folder / name).read_text()


def test_postfix_asks_milters_in_order_and_each_where_it_listens(ask: Ask, play: Play, tmp_path: Path) -> None:
    (gate,) = ask("query('mailhosting.stack.brings', 'milters')")
    first = {"name": "first", "in": "inet:127.0.0.1:11332", "bounce": "inet:127.0.0.1:11333"}
    lines = dict(
        line.split(" = ", 1)
        for line in rendered("main.cf", [first, gate], tmp_path, play).splitlines()
        if line.startswith(("smtpd_milters", "gate_"))
    )
    waits = "connect_timeout=5s, command_timeout=30s, default_action=tempfail"
    passes = "connect_timeout=1s, command_timeout=5s, default_action=accept"
    folder = "unix:mailhosting-gate"
    assert lines == {
        "smtpd_milters": f"{{ inet:127.0.0.1:11332, {waits} }}, {{ {folder}/in, {waits} }}",
        "gate_out": f"{{ {folder}/out, {waits} }}",
        "gate_bounce": f"{{ inet:127.0.0.1:11333, {passes} }}, {{ {folder}/out, {passes} }}",
    }


def test_postfix_without_milters_asks_nobody(play: Play, tmp_path: Path) -> None:
    assert "milter" not in rendered("main.cf", [], tmp_path, play)
    assert "milters=" not in rendered("master.cf", [], tmp_path, play)
