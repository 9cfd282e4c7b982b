# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the phases of budget.toml, several at a time, and end with a table.

The output of each goes to .cache/phases/NAME.log, and is printed as a whole when the phase ends.
It needs only Python: the first phase installs all else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from . import budget
from .runner import LAST, run


def record() -> None:
    """Write the seconds of the last run into the budget.

    Raises: BudgetError if the budget is invalid.
    """
    if not LAST.exists():
        raise budget.BudgetError("there was no run to take seconds from: make test")
    last = json.loads(LAST.read_text())
    budget.FILE.write_text(budget.with_seconds(budget.FILE.read_text(), last["seconds"], last["phases"]))


def main() -> None:
    """The command line; exits with 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="tests.phases", description=__doc__)
    parser.add_argument("--record", action="store_true", help="take the seconds of the last run for the budget")
    # One more than processors: each phase waits for daemons, timeouts and the network a quarter of its time.
    jobs = len(os.sched_getaffinity(0)) + 1
    parser.add_argument("--jobs", type=int, default=jobs, help="how many phases at a time")
    parser.add_argument("names", nargs="*", metavar="PHASE", help="what to run, with what must come before; else all")
    options = parser.parse_args()
    try:
        if options.record:
            record()
        elif not run(budget.read(budget.FILE.read_text()), options.names, options.jobs):
            sys.exit(1)
    except budget.BudgetError as mistake:
        sys.exit(f"phases: {mistake}")


if __name__ == "__main__":
    main()
