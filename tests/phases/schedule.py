# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selects the phases that start next."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .budget import Phase


def longest_first(phases: Mapping[str, Phase]) -> list[Phase]:
    """The phases by the seconds of the longest chain that begins with each."""

    def length(phase: Phase) -> int:
        return phase.seconds + max((length(late) for late in phases.values() if phase.name in late.after), default=0)

    return sorted(phases.values(), key=length, reverse=True)


def cannot_run(phases: Mapping[str, Phase], ended: Mapping[str, bool]) -> set[str]:
    """The phases that wait for a failed one, directly or not.  `ended`: whether it succeeded, by name."""
    lost = {name for name, well in ended.items() if not well}
    while more := {phase.name for phase in phases.values() if not lost.isdisjoint(phase.after)} - lost:
        lost |= more
    return lost.difference(ended)


def next_phases(
    phases: Mapping[str, Phase], ended: Mapping[str, bool], running: Collection[str], jobs: int
) -> list[Phase]:
    """The phases to start now if `jobs` may run at a time.  `ended`: whether it succeeded, by name."""
    begun = {*ended, *running, *cannot_run(phases, ended)}
    waiting = [phase for phase in longest_first(phases) if phase.name not in begun]
    if any(phases[name].quiet for name in running):
        return []
    if all(phase.quiet for phase in waiting):
        return [] if running else waiting[:1]
    ready = [phase for phase in waiting if not phase.quiet and all(ended.get(name) for name in phase.after)]
    return ready[: max(0, jobs - len(running))]
