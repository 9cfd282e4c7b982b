# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report at the end of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from .budget import Phase

#: pytest's last line, with or without its frame of "=".
_PYTEST_SUMMARY = re.compile(
    r"^(?:=+ )?(\d+ (?:passed|failed|errors?|skipped|deselected)\b.* in [\d.]+s\b.*?)(?: =+)?$"
)
_DURATION = re.compile(r"^(\d+\.\d+)s (call|setup|teardown) +(\S.*)$")

Result = Literal["ok", "FAILED", "TIME OUT", "not run"]


@dataclass(frozen=True)
class Outcome:
    """How a phase ended.  `cpu_seconds`: of its processes, without those of the test hosts."""

    result: Result
    seconds: float = 0
    cpu_seconds: float = 0
    log: str = ""

    @property
    def well(self) -> bool:
        return self.result == "ok"


def table(phases: Mapping[str, Phase], outcomes: Mapping[str, Outcome]) -> list[str]:
    """One line for each phase."""
    lines = [f"{'':14} {'':8} {'took':>7} {'budget':>7} {'CPU':>7}"]
    for name, phase in phases.items():
        outcome = outcomes.get(name, Outcome("not run"))
        times = f"{outcome.seconds:5.0f} s {phase.seconds:5} s {outcome.cpu_seconds:5.0f} s"
        lines.append(f"{name:14} {outcome.result:8} {times}  {pytest_summary(outcome.log)}".rstrip())
    return lines


def pytest_summary(log: str) -> str:
    """The last line of pytest, with the numbers of passed and failed tests; else empty."""
    found = [match[1] for match in map(_PYTEST_SUMMARY.match, log.splitlines()) if match]
    return found[-1] if found else ""


def slowest_tests(logs: Iterable[str], most: int = 20) -> list[str]:
    """The slowest tests in pytest's --durations of all logs, slowest first."""
    found = [match for log in logs for match in map(_DURATION.match, log.splitlines()) if match]
    found.sort(key=lambda match: float(match[1]), reverse=True)
    return [f"{float(match[1]):7.2f} s {match[2]:8} {match[3]}" for match in found[:most]]
