# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host has what its roles declare, and nothing of ours besides."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import testinfra

Declared = dict[str, list[Any]]


@pytest.fixture(scope="module")
def declared(inventories: list[str], tmp_path_factory: pytest.TempPathFactory) -> Declared:
    file = tmp_path_factory.mktemp("declared") / "declared.json"
    command = ["ansible-playbook", str(Path(__file__).with_name("declared.yml")), f"--extra-vars=declared={file}"]
    subprocess.run([*command, *(f"--inventory={path}" for path in inventories)], check=True, capture_output=True)
    found: Declared = json.loads(file.read_text())
    return found


def base(unit: str) -> str:
    """What a unit and those that it starts have in common."""
    return re.sub(r"(@.*)?[.][a-z]+$", "", unit)


def test_every_declared_unit_runs_now_and_after_a_boot(host: testinfra.host.Host, declared: Declared) -> None:
    for unit in declared["units"]:
        shown = host.check_output(f"systemctl show --property=ActiveState,UnitFileState --value {unit}").split()
        assert shown in (["active", "enabled"], ["active", "enabled-runtime"]), unit


def test_there_is_no_other_unit_of_ours(host: testinfra.host.Host, declared: Declared) -> None:
    files = [name for name in host.file("/etc/systemd/system").listdir() if name.startswith("mailhosting-")]
    units = [name for name in files if not name.endswith(".d")]
    assert {base(unit) for unit in units} == {base(unit) for unit in declared["units"] if "mailhosting" in unit}
    # Nor is any left that has no file any more.
    listed = host.check_output("systemctl list-units --all --plain --no-legend 'mailhosting-*'").splitlines()
    known = {base(unit) for unit in units}
    assert [line for line in listed if base(line.split()[0]) not in known and ".slice" not in line] == []


def test_ports_that_are_listened_on(host: testinfra.host.Host, declared: Declared) -> None:
    listening = {line.split()[3] for line in host.check_output("ss -Hltn").splitlines()}
    loopback = {int(place.rpartition(":")[2]) for place in listening if place.startswith("127.0.0.1:")}
    outside = {int(place.rpartition(":")[2]) for place in listening if not place.startswith(("127.", "[::1]"))}
    assert outside - {22} == set(declared["ports"])
    assert loopback == set(declared["loopback_ports"])


def test_state_is_where_it_is_declared(host: testinfra.host.Host, declared: Declared) -> None:
    host.check_output("systemctl start mailhosting-retention@dry-run")
    for entry in declared["state"]:
        file = host.file(entry["path"])
        assert file.is_file if entry["kind"] == "file" else file.is_directory, entry["path"]
        # What holds keys or passwords is nobody's but its owner's, be it below.
        if entry["secret"] and entry["kind"] == "file":
            assert file.mode & 0o077 == 0, entry["path"]


def test_users_of_valkey_have_the_declared_rights(host: testinfra.host.Host, declared: Declared) -> None:
    lines = host.check_output("cat /etc/valkey/users.acl").splitlines()
    rules = {line.split()[1]: line for line in lines if line.startswith("user ")}
    rules["default"] = host.check_output("cat /etc/valkey/default-user")
    assert rules.keys() == {"admin", *(user["name"] for user in declared["valkey"])}
    for user in declared["valkey"]:
        assert rules[user["name"]].endswith(user["rules"])
    # As Valkey itself has read them.
    listed = {line.split()[1] for line in acl(host)}
    assert listed == rules.keys()


def acl(host: testinfra.host.Host) -> list[str]:
    """`ACL LIST`, by a user who is made for that."""
    file = "/etc/valkey/users.acl"
    host.check_output(f"cp -p {file} {file}.e2e && echo 'user e2e on nopass +@all' >> {file}")
    host.check_output("systemctl reset-failed valkey-server; systemctl restart valkey-server")
    try:
        command = "valkey-cli -s /run/valkey/valkey.sock --no-auth-warning --user e2e --pass x ACL LIST"
        lines = host.check_output(command).splitlines()
    finally:
        host.check_output(
            f"mv {file}.e2e {file}; systemctl reset-failed valkey-server; systemctl restart valkey-server"
        )
    return [line for line in lines if not line.startswith("user e2e ")]
