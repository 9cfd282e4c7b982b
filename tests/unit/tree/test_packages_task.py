# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task that installs packages, on a host with a stand-in for dpkg and apt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Play

PLAY = """
- hosts: all
  gather_facts: false
  roles: [one, two]
"""
TASK = "[{name: Install, mailhosting.stack.packages: {name: '{{ __%(role)s_packages }}'}}]"
PACKAGES = {"one": "[alpha, '{{ \"beta\" }}']", "two": "[beta, gamma]"}
#: Prints the lines of `status` for the packages asked for.
DPKG = """#!/bin/sh
cd {folder}
for name; do grep " $name\\$" status; done
"""
#: Records its arguments, and marks the packages as installed.
APT = """#!/usr/bin/python3
import json, pathlib
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule(
    {{"name": {{"type": "list"}}, "install_recommends": {{"type": "bool"}}, "update_cache": {{"type": "bool"}},
      "cache_valid_time": {{"type": "int"}}, "policy_rc_d": {{"type": "int"}}}})
folder = pathlib.Path({folder!r})
with (folder / "asked").open("a") as asked:
    asked.write(json.dumps(module.params) + "\\n")
(folder / "status").write_text("".join(f"installed {{name}}\\n" for name in module.params["name"]))
module.exit_json(changed=True)
"""


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for role, packages in PACKAGES.items():
        for folder, text in (("tasks", TASK % {"role": role}), ("vars", f"__{role}_packages: {packages}")):
            path = tmp_path / "roles" / role / folder / "main.yml"
            path.parent.mkdir(parents=True)
            path.write_text(text)
    (tmp_path / "library").mkdir()
    (tmp_path / "library/apt.py").write_text(APT.format(folder=str(tmp_path)))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/dpkg-query").write_text(DPKG.format(folder=tmp_path))
    (tmp_path / "bin/dpkg-query").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}", prepend=":")
    (tmp_path / "status").touch()
    (tmp_path / "asked").touch()
    return tmp_path


def asked(host: Path) -> list[list[str]]:
    return [json.loads(line)["name"] for line in (host / "asked").read_text().splitlines()]


def test_the_first_role_that_misses_one_installs_what_all_declare(host: Path, play: Play) -> None:
    (host / "status").write_text("installed alpha\nhalf-installed beta\n")
    first = play(PLAY)
    assert "ok=2 " in first.stdout, first
    assert "changed=1 " in first.stdout, first
    assert asked(host) == [["alpha", "beta", "gamma"]]
    assert json.loads((host / "asked").read_text()) == {
        "name": ["alpha", "beta", "gamma"], "install_recommends": False, "update_cache": True, "cache_valid_time": 3600,
        "policy_rc_d": 101,
    }  # fmt: skip

    assert "changed=0 " in play(PLAY).stdout
    assert len(asked(host)) == 1


def test_a_check_says_what_each_role_misses(host: Path, play: Play) -> None:
    (host / "status").write_text("installed beta\n")
    checked = play(PLAY, "--check", "--diff")
    assert "changed=2 " in checked.stdout, checked
    assert "+alpha\n" in checked.stdout
    assert "+gamma\n" in checked.stdout
    assert "+beta\n" not in checked.stdout
    assert asked(host) == []
