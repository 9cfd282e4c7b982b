# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phases as processes: several at a time, each with a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from .budget import Budget, Phase, excesses
from .schedule import cannot_run, next_phases
from .summary import Outcome, Result, slowest_tests, table

LOGS = Path(".cache/phases")
LAST = LOGS / "last.json"
#: CI kills a run after 90 minutes; one that ends before can still report.
MOST_SECONDS = 85 * 60
#: From SIGTERM to SIGKILL.
GRACE_SECONDS = 15
_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT


@dataclass
class Running:
    """A phase that runs: its process, which leads a session of its own, and when it began."""

    phase: Phase
    process: subprocess.Popen[bytes]
    began: float
    killed: bool = False

    @classmethod
    def start(cls, phase: Phase) -> Running:
        """Start `phase`, with its output in its log."""
        ran = LOGS / f"{phase.name}.ran"
        ran.unlink(missing_ok=True)
        # The outer make's terminal and job server are not for the phase.
        plain = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        plain |= {"NO_COLOR": "1", "MAIL_TEST_RAN": str(ran.absolute()), "MAIL_TEST_TIMING": "later"}
        with (LOGS / f"{phase.name}.log").open("wb") as log:
            command = ["make", phase.name]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=plain, start_new_session=True
            )
        return cls(phase, process, time.monotonic())

    @property
    def log(self) -> Path:
        return LOGS / f"{self.phase.name}.log"

    def end(self) -> None:
        """End it and all that it started, by SIGKILL if need be."""
        self.killed = True
        deadline = time.monotonic() + GRACE_SECONDS
        os.killpg(self.process.pid, signal.SIGTERM)
        # Until it is reaped its number, and so its process group, stays.
        while time.monotonic() < deadline and not os.waitid(os.P_PID, self.process.pid, _ENDED):
            time.sleep(0.2)
        os.killpg(self.process.pid, signal.SIGKILL)


@dataclass
class Run:
    """All phases of one run.  `jobs`: how many at a time."""

    phases: dict[str, Phase]
    jobs: int
    began: float = field(default_factory=time.monotonic)
    running: dict[str, Running] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def all(self) -> None:
        """Start the phases that may start and wait for those that run, until none is left."""
        try:
            while self._start() or self.running:
                for each in list(self.running.values()):
                    self._look_at(each)
                time.sleep(0.2)
        finally:
            for each in self.running.values():
                each.end()
            for each in list(self.running.values()):
                self._look_at(each)

    def _start(self) -> bool:
        ended = {name: outcome.well for name, outcome in self.outcomes.items()}
        for phase in next_phases(self.phases, ended, self.running, self.jobs):
            say(f"▸ {phase.name}")
            self.running[phase.name] = Running.start(phase)
        return bool(self.running)

    def _look_at(self, each: Running) -> None:
        now = time.monotonic()
        if now - each.began > each.phase.patience or now - self.began > MOST_SECONDS:
            each.end()
        pid, status, usage = os.wait4(each.process.pid, os.WNOHANG)
        if not pid:
            return
        each.process.returncode = os.waitstatus_to_exitcode(status)
        del self.running[each.phase.name]
        result: Result = "TIME OUT" if each.killed else "FAILED" if each.process.returncode else "ok"
        log = each.log.read_text(errors="replace")
        outcome = Outcome(result, now - each.began, usage.ru_utime + usage.ru_stime, log)
        self.outcomes[each.phase.name] = outcome
        say(f"\n── {each.phase.name}: {result}, {outcome.seconds:.0f} s ──\n{log}")


def say(text: str) -> None:
    """Print and flush."""
    print(text, flush=True)


def busy() -> tuple[int, int]:
    """Ticks of all processors since the machine's start: work, and all.  From proc_stat(5)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt for every signal that asks this process to end."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(budget: Budget, names: list[str], jobs: int) -> bool:
    """Run these phases (all without names) and report; returns whether all succeeded."""
    LOGS.mkdir(parents=True, exist_ok=True)
    phases = budget.wanted(names)
    this, worked = Run(phases, jobs), busy()
    interrupted = False
    try:
        with ended_by_signals():
            this.all()
    except KeyboardInterrupt:
        interrupted = True
    seconds = time.monotonic() - this.began
    work, ticks = (now - then for now, then in zip(busy(), worked, strict=True))
    say_failures(this)
    slowest = slowest_tests(outcome.log for outcome in this.outcomes.values())
    if slowest:
        say("\n── the slowest tests ──\n" + "\n".join(slowest))
    say(f"\n── {seconds // 60:.0f} min {seconds % 60:02.0f} s, processors busy {100 * work // max(ticks, 1)} % ──")
    say("\n".join(table(phases, this.outcomes)))
    took = {name: outcome.seconds for name, outcome in this.outcomes.items()}
    for line in excesses(budget, seconds, took):
        say(f"warning: {line}")
    well = {name: round(outcome.seconds) for name, outcome in this.outcomes.items() if outcome.well}
    complete = set(well) == set(budget.phases)
    LAST.write_text(json.dumps({"seconds": round(seconds) if complete else None, "phases": well}) + "\n")
    return len(well) == len(phases) and not interrupted


def say_failures(this: Run) -> None:
    """Print the end of each failed phase's log, and the phases that could not run for it."""
    for name, outcome in this.outcomes.items():
        if not outcome.well:
            tail = "\n".join(outcome.log.splitlines()[-40:])
            say(f"\n── the end of {LOGS / name}.log: {outcome.result} ──\n{tail}")
    if lost := cannot_run(this.phases, {name: outcome.well for name, outcome in this.outcomes.items()}):
        say(f"\n── not run, for what they need failed: {', '.join(sorted(lost))} ──")
