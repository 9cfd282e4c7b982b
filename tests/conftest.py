# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selects the tests of each step of `make test`, and records those that ran."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

#: "later": all but timing tests; "now": only timing tests.  Otherwise all tests run.
TIMING = "MAIL_TEST_TIMING"
#: The file that gets a line for each test that ran.
RAN = "MAIL_TEST_RAN"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave timing tests to a step in which nothing else runs."""
    if TIMING not in os.environ:
        return
    now = os.environ[TIMING] == "now"
    chosen = [item for item in items if (item.get_closest_marker("timing") is not None) == now]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A scenario without timing tests is no failure."""
    if os.environ.get(TIMING) == "now" and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record each test that was not skipped; workers leave that to the process that they report to."""
    if report.when == "call" and not report.skipped and RAN in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        with Path(os.environ[RAN]).open("a") as ran:
            ran.write(f"{report.nodeid}\n")
