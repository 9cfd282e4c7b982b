# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which benchmarks run, in which order, and what is reported of their figures."""

from __future__ import annotations

import re
from pathlib import Path

import common
import pytest
import run


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (["accounts", "site"], ["site", "accounts"]),
        (["gate_memory_whole", "retention", "site", "retention"], ["site", "retention", "gate_memory_whole"]),
        ([], list(run.BENCHMARKS)),
    ],
)
def test_they_run_in_their_own_order_whatever_order_is_asked_for(asked: list[str], names: list[str]) -> None:
    assert run.chosen(asked) == names


def test_unknown_names_are_said_with_the_known_ones() -> None:
    with pytest.raises(SystemExit, match="no benchmark delivry, sites; there are same_content, site, logins"):
        run.chosen(["site", "sites", "delivry"])


def test_figures_say_of_which_commit_and_day_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    common.publish("logins", [common.at_least("logins", 700, "/s", 588)])
    common.publish("site", [common.at_most("second run", 46, "s", 25), common.Figure("tasks", 94, "")])
    results = [common.published(name) for name in ("logins", "site")]
    assert [(figure.name, figure.met) for result in results for figure in result.figures] == [
        ("logins", True),
        ("second run", False),
        ("tasks", None),
    ]
    (commit,) = {result.commit for result in results}
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?", commit)
    assert re.fullmatch(rf"All figures \({commit} on 20\d\d-\d\d-\d\d, \d+ cores\)", run.heading(results))


def test_figures_of_two_commits_are_not_shown_as_one_s() -> None:
    results = [common.Result(commit, "2026-11-28", []) for commit in ("b0b", "abe", "b0b")]
    assert run.heading(results).startswith("All figures (abe on 2026-11-28, b0b on 2026-11-28, ")
