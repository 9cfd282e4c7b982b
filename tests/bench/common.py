# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks share: hosts, timing, and one form for their figures."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")

CHECKOUT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = CHECKOUT / ".cache" / "bench"
RUN: Final = "bench"
#: Prints how often Postfix and Dovecot were told to read their configuration again.
_RELOADS: Final = (
    "journalctl --since=@{since} --output=cat | grep -c -e 'reload -- version' -e 'Warning: SIGHUP' || true"
)


@dataclass(frozen=True)
class Figure:
    """One row of the table: what was measured, and what it was meant to be."""

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None  # None: the figure has no target

    def as_row(self) -> str:
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        return f"| {self.name} | {self.value:.3g} {self.unit} | {self.target} | {verdict} |"


def at_most(name: str, value: float, unit: str, limit: float) -> Figure:
    return Figure(name, value, unit, f"≤ {limit:g} {unit}".strip(), value <= limit)


def at_least(name: str, value: float, unit: str, limit: float) -> Figure:
    return Figure(name, value, unit, f"≥ {limit:g} {unit}".strip(), value >= limit)


@dataclass(frozen=True)
class Result:
    """What a benchmark measured, and of what."""

    commit: str  # `-dirty` at its end: of a checkout with changes
    date: str  # YYYY-MM-DD, UTC
    figures: list[Figure]


def table(title: str, figures: list[Figure]) -> str:
    """As Markdown."""
    head = [f"## {title}", "", "| figure | value | target | |", "|---|---|---|---|"]
    return "\n".join([*head, *(figure.as_row() for figure in figures)])


def publish(name: str, figures: list[Figure]) -> None:
    """Print a benchmark's figures, and keep them where `make bench` collects them."""
    describe = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, check=True, capture_output=True, text=True, cwd=CHECKOUT).stdout.strip()
    result = Result(commit, f"{datetime.now(UTC):%Y-%m-%d}", figures)
    print(f"\n{table(f'{name} (load {os.getloadavg()[0]:.1f})', figures)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(asdict(result), indent=2))


def published(name: str) -> Result:
    """What a benchmark has published."""
    found = json.loads((RESULTS / f"{name}.json").read_text())
    return Result(**{**found, "figures": [Figure(**figure) for figure in found["figures"]]})


class Host:
    """A test host of the run `bench`, and the inventories it is reached by."""

    def __init__(self, name: str, *inventories: Path) -> None:
        self.name = name
        subprocess.run([CHECKOUT / "tests/hosts/testhosts", "up", "--run", RUN, "--image", "cached", name], check=True)
        home = CHECKOUT / ".cache" / "hosts" / RUN
        self._ssh = ["ssh", "-F", str(home / "ssh_config"), name]
        self.inventories = [*inventories, home / "inventory.yml"]

    def shell(self, script: str) -> str:
        """Run a shell script as root; its output.  CalledProcessError if it fails."""
        done = subprocess.run([*self._ssh, "bash -eu"], input=script, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def python(self, program: Path, *arguments: str) -> Any:
        """Run a Python program as root; the JSON it prints."""
        command = [*self._ssh, "python3", "-", *arguments]
        done = subprocess.run(command, stdin=program.open(), check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout)

    def start_python(self, program: Path, *arguments: str) -> subprocess.Popen[str]:
        """The same, while the caller does something else."""
        command = [*self._ssh, "python3", "-", *arguments]
        return subprocess.Popen(command, stdin=program.open(), stdout=subprocess.PIPE, text=True)

    def start_anew(self, **variables: Any) -> None:
        """Run site.yml with an empty directory: an earlier benchmark's tenants may not fit this one's plans."""
        self.shell("! command -v dropdb || runuser -u postgres -- dropdb --if-exists --force mailhosting")
        self.play("mailhosting.stack.site", **variables)
        self.shell("systemctl restart dovecot postfix")  # whose connections went with the database

    def with_reloads(self, action: Callable[[], T]) -> tuple[T, int]:
        """What `action` returns, and how often Postfix and Dovecot read their configuration again meanwhile."""
        since = self.shell("sleep 2; date +%s").strip()  # the journal is asked by whole seconds
        return action(), int(self.shell(_RELOADS.format(since=since)))

    def play(self, playbook: str | Path, **variables: Any) -> float:
        """Run a playbook against this host alone; wall seconds."""
        command = ["ansible-playbook", str(playbook), f"--limit={self.name}", f"--extra-vars={json.dumps(variables)}"]
        command += [f"--inventory={path}" for path in self.inventories]
        return wall(lambda: _quiet(command))


def _quiet(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[1]} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def wall(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def median(times: int, action: Callable[[], float]) -> float:
    return statistics.median(action() for _ in range(times))
