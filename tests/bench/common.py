# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by the benchmarks: hosts, timing, and one form of figures."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")

CHECKOUT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = CHECKOUT / ".cache" / "bench"
RUN: Final = "bench"
#: Prints how often systemd reloaded Postfix and Dovecot.
_RELOADS: Final = (
    "journalctl --since=@{since} --output=cat | grep -c -e 'reload -- version' -e 'Warning: SIGHUP' || true"
)


@dataclass(frozen=True)
class Figure:
    """One row of the table: a measured value, and its target."""

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
    """The figures of a benchmark, with commit and date."""

    commit: str  # ends with `-dirty` if the checkout has changes
    date: str  # YYYY-MM-DD, UTC
    figures: list[Figure]


def table(title: str, figures: list[Figure]) -> str:
    """The figures as a table in Markdown."""
    head = [f"## {title}", "", "| figure | value | target | |", "|---|---|---|---|"]
    return "\n".join([*head, *(figure.as_row() for figure in figures)])


def publish(name: str, figures: list[Figure]) -> None:
    """Print a benchmark's figures, and store them where `make bench` collects them."""
    describe = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, check=True, capture_output=True, text=True, cwd=CHECKOUT).stdout.strip()
    result = Result(commit, f"{datetime.now(UTC):%Y-%m-%d}", figures)
    print(f"\n{table(f'{name} (load {os.getloadavg()[0]:.1f})', figures)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(asdict(result), indent=2))


def published(name: str) -> Result:
    """The stored figures of a benchmark."""
    found = json.loads((RESULTS / f"{name}.json").read_text())
    return Result(**{**found, "figures": [Figure(**figure) for figure in found["figures"]]})


class Host:
    """A test host of the run `bench`, and its inventories."""

    def __init__(self, name: str, *inventories: Path, image: str = "cached") -> None:
        self.name = name
        #: Where ansible-playbook finds collections; None: in this checkout.
        self.collections: Path | None = None
        subprocess.run([CHECKOUT / "tests/hosts/testhosts", "up", "--run", RUN, "--image", image, name], check=True)
        home = CHECKOUT / ".cache" / "hosts" / RUN
        self._ssh = ["ssh", "-F", str(home / "ssh_config"), name]
        self.inventories = [*inventories, home / "inventory.yml"]

    def shell(self, script: str) -> str:
        """Run a shell script as root; returns its output.

        Raises: CalledProcessError if it fails.
        """
        done = subprocess.run([*self._ssh, "bash -eu"], input=script, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def python(self, program: Path, *arguments: str) -> Any:
        """Run a Python program as root; returns the JSON that it prints."""
        command = [*self._ssh, "python3", "-", *arguments]
        done = subprocess.run(command, stdin=program.open(), check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout)

    def start_python(self, program: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python program as root, while the caller continues."""
        command = [*self._ssh, "python3", "-", *arguments]
        return subprocess.Popen(command, stdin=program.open(), stdout=subprocess.PIPE, text=True)

    def start_anew(self, **variables: Any) -> None:
        """Run site.yml with an empty directory: tenants of an earlier benchmark may not fit these plans."""
        self.shell("! command -v dropdb || runuser -u postgres -- dropdb --if-exists --force mailhosting")
        self.play("mailhosting.stack.site", **variables)
        self.shell("systemctl restart dovecot postfix")  # dropping the database broke their connections

    def with_reloads(self, action: Callable[[], T]) -> tuple[T, int]:
        """The result of `action`, and how often Postfix and Dovecot were reloaded meanwhile."""
        since = self.shell("sleep 2; date +%s").strip()  # the journal is queried by whole seconds
        return action(), int(self.shell(_RELOADS.format(since=since)))

    def play(self, playbook: str | Path, **variables: Any) -> float:
        """Run a playbook against this host alone; returns the seconds of wall time."""
        environment = {"ANSIBLE_COLLECTIONS_PATH": str(self.collections)} if self.collections else {}
        command = ["ansible-playbook", str(playbook), f"--limit={self.name}", f"--extra-vars={json.dumps(variables)}"]
        command += [f"--inventory={path}" for path in self.inventories]
        return wall(lambda: _quiet(command, environment))


def _quiet(command: list[str], environment: Mapping[str, str]) -> None:
    environment = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{command[1]} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def wall(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def median(times: int, action: Callable[[], float]) -> float:
    return statistics.median(action() for _ in range(times))
