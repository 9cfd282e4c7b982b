# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests a step of `make test` runs, and a note of those that ran."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

#: "later": no tests of time; "now": those alone.  Without it all tests run.
TIMING = "MAIL_TEST_TIMING"
#: The file that gets a line for each test that ran.
RAN = "MAIL_TEST_RAN"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests of time to a step in which nothing else runs."""
    if TIMING not in os.environ:
        return
    now = os.environ[TIMING] == "now"
    chosen = [item for item in items if (item.get_closest_marker("timing") is not None) == now]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Not every scenario has tests of time."""
    if os.environ.get(TIMING) == "now" and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test that was skipped did not run.  Workers leave this to the process that they report to."""
    if report.when == "call" and not report.skipped and RAN in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        with Path(os.environ[RAN]).open("a") as ran:
            ran.write(f"{report.nodeid}\n")
