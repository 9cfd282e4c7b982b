# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which benchmarks run, and in which order."""

from __future__ import annotations

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
