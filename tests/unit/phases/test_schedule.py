# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which phases run at the same time, and in what order."""

from __future__ import annotations

import pytest
from ansible_collections.mailhosting.stack.tests.phases.budget import Phase
from ansible_collections.mailhosting.stack.tests.phases.schedule import cannot_run, next_phases
from hypothesis import given
from hypothesis import strategies as st

PHASES = {
    phase.name: phase
    for phase in (
        Phase("venv", 60),
        Phase("lint", 100, ("venv",)),
        Phase("image", 10, ("venv",)),
        Phase("default", 200, ("image",)),
        Phase("units", 150, ("venv",)),
        Phase("timing", 5, quiet=True),
        Phase("count", 5, quiet=True),
    )
}


def names(phases: list[Phase]) -> list[str]:
    return [phase.name for phase in phases]


@pytest.mark.parametrize(
    ("ended", "running", "expected"),
    [
        ("", "", ["venv"]),
        ("", "venv", []),
        ("venv", "", ["image", "units"]),  # image is short, but starts the longest chain
        ("venv", "image", ["units"]),
        ("venv image units", "", ["default", "lint"]),
        ("venv image units lint", "default", []),
        ("venv image units lint default", "", ["timing"]),
        ("venv image units lint default", "timing", []),
        ("venv image units lint default timing", "", ["count"]),
        ("venv image units lint default timing count", "", []),
    ],
)
def test_longest_first_two_at_a_time_and_quiet_ones_by_themselves(
    ended: str, running: str, expected: list[str]
) -> None:
    assert names(next_phases(PHASES, dict.fromkeys(ended.split(), True), running.split(), 2)) == expected


def test_what_needs_a_phase_that_failed_does_not_run_and_all_else_does() -> None:
    ended = {"venv": True, "image": False}
    assert cannot_run(PHASES, ended) == {"default"}
    assert names(next_phases(PHASES, ended, [], 2)) == ["units", "lint"]
    assert names(next_phases(PHASES, ended | {"units": False, "lint": True}, [], 2)) == ["timing"]
    assert cannot_run(PHASES, {"venv": False}) == {"lint", "image", "default", "units"}


@given(st.data())
def test_every_phase_starts_once_or_cannot_run(data: st.DataObject) -> None:
    jobs = data.draw(st.integers(min_value=1, max_value=4))
    ended: dict[str, bool] = {}
    running: list[str] = []
    while True:
        for phase in next_phases(PHASES, ended, running, jobs):
            assert phase.name not in [*ended, *running]
            running.append(phase.name)
        assert len(running) <= jobs
        assert len(running) == 1 or not any(PHASES[name].quiet for name in running)
        if not running:
            break
        ended[running.pop(data.draw(st.integers(0, len(running) - 1)))] = data.draw(st.booleans())
    assert cannot_run(PHASES, ended) == set(PHASES).difference(ended)
