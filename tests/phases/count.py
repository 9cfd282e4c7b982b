# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every test ran in exactly one phase."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Collection

from .runner import LOGS

SUITES = ("tests/unit", "tests/e2e")


def collected() -> list[str]:
    """The ids of all tests.

    Raises: CalledProcessError if pytest fails.
    """
    options = ["--collect-only", "--quiet", "--override-ini=cache_dir=.cache/pytest"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MAIL_TEST_")}
    command = ["pytest", *options, *SUITES]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=plain).stdout
    return [line for line in said.splitlines() if "::" in line]


def differences(there: Collection[str], ran: Collection[str]) -> list[str]:
    """A line for each test that did not run exactly once."""
    times = Counter(ran)
    lines = [f"never ran: {test}" for test in there if not times[test]]
    lines += [f"ran {times[test]} times: {test}" for test in there if times[test] > 1]
    return lines + [f"ran, and is not there: {test}" for test in sorted(set(ran).difference(there))]


def main() -> None:
    """Compare the tests that the phases recorded with all tests."""
    ran = [line for file in sorted(LOGS.glob("*.ran")) for line in file.read_text().splitlines()]
    there = collected()
    found = differences(there, ran)
    print("\n".join(found[:50]))
    if found:
        sys.exit(f"count: {len(found)} of {len(there)} tests did not run once")
    print(f"Each of {len(there)} tests ran once.")


if __name__ == "__main__":
    main()
