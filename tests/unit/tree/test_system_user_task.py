# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task that creates a service's user, on a host with a stand-in for id and systemd-sysusers."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Play

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - mailhosting.stack.system_user:
        name: mh-demo
        comment: Limits of tenants
        group: demo
        groups: [store]
"""
MADE = ["--inline", "g demo", 'u mh-demo -:demo "Limits of tenants" /nonexistent /usr/sbin/nologin']


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    for name, text in (
        ("id", f"cat {tmp_path}/groups"),
        ("systemd-sysusers", f'printf "%s\\n" "$@" >{tmp_path}/done'),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}", prepend=":")
    return tmp_path


def test_a_user_in_its_groups_is_left_alone(host: Path, play: Play) -> None:
    (host / "groups").write_text("demo others store\r\n")
    run = play(PLAY)
    assert "ok=1 " in run.stdout, run
    assert "changed=0 " in run.stdout
    assert not (host / "done").exists()


def test_a_missing_user_is_made_with_its_groups(host: Path, play: Play) -> None:
    checked = play(PLAY, "--check")
    assert "changed=1 " in checked.stdout, checked
    assert not (host / "done").exists()

    run = play(PLAY)
    assert "changed=1 " in run.stdout, run
    assert (host / "done").read_text().splitlines() == [*MADE, "m mh-demo store"]


def test_a_user_that_is_there_joins_the_groups_that_it_lacks(host: Path, play: Play) -> None:
    (host / "groups").write_text("mh-demo store\n")
    assert "changed=1 " in play(PLAY).stdout
    assert (host / "done").read_text().splitlines() == [*MADE, "m mh-demo demo", "m mh-demo store"]
