# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the tests that prove each requirement of docs/requirements.md, and the requirements without a test.

Fails on a marker that names no requirement.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SUITES = ("tests/unit", "tests/e2e")
ROW = re.compile(r"^\| ([A-Z]{2}-\d+) \| (.+) \|$", flags=re.MULTILINE)


class Collector:
    """A pytest plugin that records the requirements that each test names."""

    def __init__(self) -> None:
        self.tests: dict[str, set[str]] = defaultdict(set)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Read the markers; a test with parameters counts once."""
        for item in items:
            for mark in item.iter_markers("requirement"):
                for requirement in mark.args:
                    self.tests[requirement].add(item.nodeid.partition("[")[0])


def collect() -> dict[str, set[str]]:
    """Requirement → tests that name it, without running them."""
    collector = Collector()
    suites = [str(CHECKOUT / suite) for suite in SUITES if (CHECKOUT / suite).is_dir()]
    options = [f"--rootdir={CHECKOUT}", "--collect-only", "--quiet", "--override-ini=cache_dir=.cache/pytest"]
    said = io.TextIOWrapper(io.BytesIO(), write_through=True)  # Ansible needs a real stream
    with contextlib.redirect_stdout(said):
        status = pytest.main([*options, *suites], plugins=[collector])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        sys.exit(f"requirements: the tests cannot be collected:\n{said.buffer.getvalue().decode()}")
    return collector.tests


def main() -> None:
    """Collect, compare, print."""
    requirements = dict(ROW.findall((CHECKOUT / "docs" / "requirements.md").read_text()))
    tests = collect()
    for requirement, summary in requirements.items():
        print(f"{'✓' if tests.get(requirement) else '·'} {requirement:6} {summary}")
        for test in sorted(tests.get(requirement, ())):
            print(f"           {test}")
    proven = sum(1 for requirement in requirements if tests.get(requirement))
    print(f"\n{proven} of {len(requirements)} requirements are proven by a test.")
    unknown = sorted(set(tests).difference(requirements))
    if unknown:
        named = "; ".join(f"{requirement} in {', '.join(sorted(tests[requirement]))}" for requirement in unknown)
        sys.exit(f"requirements: not in docs/requirements.md: {named}")


if __name__ == "__main__":
    main()
