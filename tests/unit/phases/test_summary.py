# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The summary at the end of a run of all phases."""

from __future__ import annotations

import pytest
from ansible_collections.mailhosting.stack.tests.phases.budget import Phase
from ansible_collections.mailhosting.stack.tests.phases.summary import Outcome, pytest_summary, slowest_tests, table

LOG = """\
tests/unit/test_a.py ....
============================= slowest 20 durations =============================
10.50s call     tests/e2e/test_a.py::test_long[a b]
0.30s setup    tests/e2e/test_b.py::test_short
=========================== short test summary info ============================
FAILED tests/e2e/test_c.py::test_of_3_passed in 4s
======================= 4 passed, 1 failed in 7.14s =======================
make: *** [Makefile:1: units] Error 1
"""


@pytest.mark.parametrize(
    "said",
    [
        "4 passed, 1 failed in 7.14s",
        "2477 passed in 331.25s (0:05:31)",
        "1 error in 0.10s",
        "3 deselected in 0.01s",
    ],
)
def test_the_last_word_of_pytest_is_found(said: str) -> None:
    assert pytest_summary(LOG.replace("4 passed, 1 failed in 7.14s", said)) == said
    assert pytest_summary(f"some passed in time\n{said}\nbye\n") == said


def test_no_word_of_pytest_is_none() -> None:
    assert pytest_summary("FAILED to say 3 passed in 4s\n") == ""


def test_the_slowest_tests_of_all_logs_come_first() -> None:
    assert slowest_tests([LOG, "2.00s teardown tests/x.py::test_x\n"]) == [
        "  10.50 s call     tests/e2e/test_a.py::test_long[a b]",
        "   2.00 s teardown tests/x.py::test_x",
        "   0.30 s setup    tests/e2e/test_b.py::test_short",
    ]
    assert len(slowest_tests([LOG] * 20)) == 20


def test_every_phase_has_a_line_those_that_never_ran_too() -> None:
    phases = {name: Phase(name, 5) for name in ("units", "lint", "package")}
    outcomes = {"units": Outcome("FAILED", 7.6, 3.2, LOG), "lint": Outcome("ok", 4.4, 4)}
    assert [line.split() for line in table(phases, outcomes)[1:]] == [
        ["units", "FAILED", "8", "s", "5", "s", "3", "s", "4", "passed,", "1", "failed", "in", "7.14s"],
        ["lint", "ok", "4", "s", "5", "s", "4", "s"],
        ["package", "not", "run", "0", "s", "5", "s", "0", "s"],
    ]
