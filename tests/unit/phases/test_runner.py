# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phases as processes, from a Makefile of the test."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.tests.phases import runner
from ansible_collections.mailhosting.stack.tests.phases.budget import Budget, Phase

MAKEFILE = """\
first:
	@echo this is first
noted:
	@echo $$MAIL_TEST_TIMING && echo a test >>$$MAIL_TEST_RAN
fails:
	@echo so it goes && exit 3
lost:
	@echo never
hangs:
	@trap '' TERM; sleep 1000 & echo $$! >pid; wait; sleep 1000
"""
FIRST, FAILS, LOST, HANGS = (
    Phase("first", 9),
    Phase("fails", 9, ("first",)),
    Phase("lost", 9, ("fails",)),
    Phase("hangs", 9),
)


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def budget(*phases: Phase) -> Budget:
    return Budget(100, 200, {phase.name: phase for phase in phases})


def test_each_phase_is_printed_and_kept(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.run(budget(FIRST), [], 2)
    assert "── first: ok, 0 s ──\nthis is first\n" in capsys.readouterr().out
    assert (checkout / ".cache/phases/first.log").read_text() == "this is first\n"
    assert json.loads(runner.LAST.read_text()) == {"seconds": 0, "phases": {"first": 0}}


def test_tests_of_time_are_left_for_later_and_only_this_runs_tests_are_noted(checkout: Path) -> None:
    for _time in range(2):
        assert runner.run(budget(Phase("noted", 9)), [], 2)
    assert (checkout / ".cache/phases/noted.log").read_text() == "later\n"
    assert (checkout / ".cache/phases/noted.ran").read_text() == "a test\n"


def test_a_failure_is_the_end_of_what_is_printed_and_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert not runner.run(budget(FIRST, FAILS, LOST), [], 2)
    said = capsys.readouterr().out
    assert "the end of .cache/phases/fails.log: FAILED ──\nso it goes\nmake: ***" in said
    assert "not run, for what they need failed: lost" in said
    assert [line.split()[:2] for line in said.splitlines()[-3:]] == [
        ["first", "ok"],
        ["fails", "FAILED"],
        ["lost", "not"],
    ]
    assert json.loads(runner.LAST.read_text()) == {"seconds": None, "phases": {"first": 0}}


def test_what_hangs_is_ended_with_all_it_started(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "MOST_SECONDS", 1)
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.5)
    assert not runner.run(budget(HANGS), [], 2)
    assert "hangs          TIME OUT" in capsys.readouterr().out
    child = Path("/proc", (checkout / "pid").read_text().strip(), "cmdline")
    deadline = time.monotonic() + 10
    while child.exists() and child.read_text():  # a dead process that is not reaped has no command line
        assert time.monotonic() < deadline
        time.sleep(0.1)
