# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task that starts units, on a host with a stand-in for systemctl."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Play

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - mailhosting.stack.units:
        name: [a.service, b@in.service, c.timer]
        daemon_reload: {reload}
        absent: [{absent}]
      register: units
    - debug: {{msg: "started={{{{ units.started | join(' ') }}}}"}}
"""
#: Prints the paragraphs of `states`; records all other calls.
SYSTEMCTL = """#!/bin/sh
case $1 in
show) cat {folder}/states ;;
*) echo "$@" >>{folder}/done; {outcome} ;;
esac
"""
WELL = ("active", "enabled", "no")
GONE = ("inactive", "", "no")
ETC = "/etc/systemd/system"


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text(SYSTEMCTL.format(folder=tmp_path, outcome="true"))
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}", prepend=":")
    (tmp_path / "done").touch()
    return tmp_path


def are(host: Path, *units: tuple[str, ...]) -> None:
    names = ("ActiveState", "UnitFileState", "NeedDaemonReload", "FragmentPath")
    values = [(*unit, "")[:4] for unit in units]
    paragraphs = ("".join(f"{name}={value}\r\n" for name, value in zip(names, unit, strict=True)) for unit in values)
    # With the line ends of ssh's terminal.
    (host / "states").write_bytes("\r\n".join(paragraphs).encode())


def test_units_that_run_are_left_alone(host: Path, play: Play) -> None:
    are(host, WELL, ("activating", "enabled", "no"), WELL)
    run = play(PLAY.format(reload=False, absent=""))
    assert "changed=0 " in run.stdout, run
    assert "started=\n" in run.stdout.replace('"', "\n"), run
    assert not (host / "done").read_text()


def test_what_is_missing_is_done_in_order(host: Path, play: Play) -> None:
    """The second unit is new to systemd; a killed run has written the third unit's file."""
    are(host, ("failed", "enabled", "no"), ("inactive", "", "no"), ("active", "disabled", "yes"))
    checked = play(PLAY.format(reload=False, absent=""), "--check")
    assert "changed=1 " in checked.stdout, checked
    assert not (host / "done").read_text()

    run = play(PLAY.format(reload=False, absent=""))
    assert "changed=1 " in run.stdout, run
    assert "started=a.service b@in.service" in run.stdout, run
    assert (host / "done").read_text().splitlines() == [
        "--quiet daemon-reload",
        "--quiet enable b@in.service c.timer",
        "--quiet start a.service b@in.service",
    ]


def test_files_of_other_units_are_read_anew_on_demand(host: Path, play: Play) -> None:
    are(host, WELL, WELL, WELL)
    run = play(PLAY.format(reload=True, absent=""))
    assert "changed=0 " in run.stdout, run
    assert (host / "done").read_text() == "--quiet daemon-reload\n"


def test_what_systemd_says_of_a_failure_is_told(host: Path, play: Play) -> None:
    (host / "bin/systemctl").write_text(
        SYSTEMCTL.format(folder=host, outcome='[ "$2" != start ] || { echo Job for a.service failed. >&2; exit 1; }')
    )
    are(host, ("inactive", "enabled", "no"), WELL, WELL)
    run = play(PLAY.format(reload=False, absent=""))
    assert "failed=1 " in run.stdout, run
    assert "Job for a.service failed." in run.stdout + run.stderr


OLD = "old.timer, old@all.service, old@changed.service"


def test_units_of_earlier_releases_end_before_their_files_go(host: Path, play: Play) -> None:
    for name in ("systemctl", "rm"):
        program = host / "bin" / name
        program.write_text(SYSTEMCTL.format(folder=host, outcome="true").replace('"$@"', f'{name} "$@"'))
        program.chmod(0o755)
    are(
        host,
        *[WELL] * 3,
        ("active", "enabled", "no", f"{ETC}/old.timer"),
        ("inactive", "static", "no", f"{ETC}/old@.service"),
        ("failed", "static", "no", f"{ETC}/old@.service"),
    )
    checked = play(PLAY.format(reload=False, absent=OLD), "--check")
    assert "changed=1 " in checked.stdout, checked
    assert not (host / "done").read_text()

    run = play(PLAY.format(reload=False, absent=OLD))
    assert "changed=1 " in run.stdout, run
    assert [line for line in (host / "done").read_text().splitlines() if "old" in line or "reload" in line] == [
        "systemctl --quiet disable old.timer",
        "systemctl --quiet stop old.timer old@all.service old@changed.service",
        "systemctl --quiet reset-failed old@changed.service",
        f"rm -f -- {ETC}/old.timer {ETC}/old@.service",
        "systemctl --quiet daemon-reload",
    ]


@pytest.mark.parametrize("unit", [GONE, ("active", "enabled", "no", "/usr/lib/systemd/system/old.timer")])
def test_what_is_gone_or_is_not_ours_is_left_alone(host: Path, play: Play, unit: tuple[str, ...]) -> None:
    are(host, *[WELL] * 3, unit, GONE, GONE)
    run = play(PLAY.format(reload=False, absent=OLD))
    assert "changed=0 " in run.stdout, run
    assert not (host / "done").read_text()
