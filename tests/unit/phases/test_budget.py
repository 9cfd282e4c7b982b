# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The budget of `make test`: its file, and the report of a run that exceeds it."""

from __future__ import annotations

import pytest
from ansible_collections.mailhosting.stack.tests.phases import budget

TEXT = """\
seconds = 1000 # of the whole
most_seconds = 3000

[phases]
venv = { seconds = 60 }
lint = { seconds = 100, after = ["venv"] }
a-lint = { seconds = 10, after = ["lint"], quiet = true }
"""


def test_the_file_of_this_repository_is_one() -> None:
    assert budget.read(budget.FILE.read_text()).phases


def test_what_is_wanted_brings_what_comes_before() -> None:
    read = budget.read(TEXT)
    assert list(read.wanted(["a-lint"])) == ["venv", "lint", "a-lint"]
    assert list(read.wanted(["venv"])) == ["venv"]
    assert list(read.wanted([])) == ["venv", "lint", "a-lint"]
    with pytest.raises(budget.BudgetError, match="no such phase: tests; there are venv, lint, a-lint"):
        read.wanted(["tests"])


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ('["units"]', "venv comes after what is no phase: units"),
        ('["a-lint"]', "venv comes after itself"),
        ('["venv"]', "venv comes after itself"),
    ],
)
def test_phases_come_after_others_and_never_in_a_circle(after: str, said: str) -> None:
    with pytest.raises(budget.BudgetError, match=said):
        budget.read(TEXT.replace("{ seconds = 60 }", f"{{ seconds = 60, after = {after} }}"))


def test_new_seconds_change_nothing_else_of_the_file() -> None:
    changed = budget.with_seconds(TEXT, 900, {"lint": 77})
    assert changed == TEXT.replace("seconds = 1000", "seconds = 900").replace("seconds = 100,", "seconds = 77,")
    assert budget.with_seconds(TEXT, None, {}) == TEXT


def test_half_as_long_again_is_named_and_no_less() -> None:
    read = budget.read(TEXT)
    assert budget.excesses(read, 3000, {"venv": 90, "lint": 151}) == ["lint took 151 s, its budget is 100 s"]
    assert budget.excesses(read, 3001, {}) == ["all took 50 min, and 50 min are the most they may"]
