# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file with all phases and the seconds that each may take."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("budget.toml")
#: A phase is reported from this many times its budget on.
NAMED_FROM = 1.5


class BudgetError(Exception):
    """The file is invalid."""


@dataclass(frozen=True)
class Phase:
    """A target of the Makefile.  `seconds`: its budget; `after`: phases that must succeed before."""

    name: str
    seconds: int
    after: tuple[str, ...] = ()
    quiet: bool = False

    @property
    def patience(self) -> int:
        """Seconds after which it counts as hung: enough for a machine that is busy with other things."""
        return 5 * self.seconds + 300


@dataclass(frozen=True)
class Budget:
    """`seconds`: of the whole; `most_seconds`: the most that the whole may take; `phases`: by name."""

    seconds: int
    most_seconds: int
    phases: dict[str, Phase]

    def wanted(self, names: list[str]) -> dict[str, Phase]:
        """The phases of these names and all that must run before them; without names all phases.

        Raises: BudgetError for an unknown name.
        """
        if unknown := sorted(set(names).difference(self.phases)):
            raise BudgetError(f"no such phase: {', '.join(unknown)}; there are {', '.join(self.phases)}")
        found = set(names or self.phases)
        while more := {before for name in found for before in self.phases[name].after} - found:
            found |= more
        return {name: phase for name, phase in self.phases.items() if name in found}


def read(text: str) -> Budget:
    """The budget in `text`.

    Raises: BudgetError if it is invalid.
    """
    said = tomllib.loads(text)
    phases = {
        name: Phase(name, entry["seconds"], tuple(entry.get("after", ())), entry.get("quiet", False))
        for name, entry in said["phases"].items()
    }
    for phase in phases.values():
        if unknown := sorted(set(phase.after).difference(phases)):
            raise BudgetError(f"{phase.name} comes after what is no phase: {', '.join(unknown)}")
        _refuse_circle(phases, phase.name)
    return Budget(said["seconds"], said["most_seconds"], phases)


def _refuse_circle(phases: Mapping[str, Phase], name: str) -> None:
    before: set[str] = set()
    while more := {earlier for late in before or {name} for earlier in phases[late].after} - before:
        before |= more
    if name in before:
        raise BudgetError(f"{name} comes after itself")


def with_seconds(text: str, whole: int | None, phases: Mapping[str, int]) -> str:
    """`text` with new seconds of the whole, unless None, and of these phases."""
    if whole is not None:
        text = re.sub(r"^(seconds = )\d+", rf"\g<1>{whole}", text, flags=re.MULTILINE)
    for name, seconds in phases.items():
        text = re.sub(rf"^({re.escape(name)} = .*\bseconds = )\d+", rf"\g<1>{seconds}", text, flags=re.MULTILINE)
    return text


def excesses(budget: Budget, whole: float, phases: Mapping[str, float]) -> list[str]:
    """A line for each phase, and for the whole, that took much longer than its budget; seconds by name."""
    found = [
        f"{name} took {seconds:.0f} s, its budget is {budget.phases[name].seconds} s"
        for name, seconds in phases.items()
        if seconds > NAMED_FROM * budget.phases[name].seconds
    ]
    if whole > budget.most_seconds:
        found.append(f"all took {whole / 60:.0f} min, and {budget.most_seconds / 60:.0f} min are the most they may")
    return found
