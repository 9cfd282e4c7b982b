# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the benchmarks named as arguments, or all; print one table of all figures; fail if one missed its target.

They run in the order of this file, whatever the order of the arguments: some change the host too much for others.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from common import CHECKOUT, RUN, Result, published, table

BENCH = Path(__file__).resolve().parent
#: The benchmark scripts of this folder, in an order in which a later one may use an earlier one's host: the last ones
#: create and delete whole directories.
BENCHMARKS = (
    "same_content",
    "site",
    "logins",
    "pop_before_smtp",
    "limit_decisions",
    "delivery",
    "autoreply",
    "host_names",
    "accounts",
    "addresses",
    "retention",
    "gate_latency",
    "gate_throughput",
    "gate_memory",
    "clamav_reload",
    "scan_memory",
    "since_release",
)
#: The same with the gate's full work, only by name: `gate_latency_whole`.
WHOLE = tuple(f"{name}_whole" for name in BENCHMARKS if name.startswith("gate_"))


#: Looks for errors, not for figures; only by name.
BY_NAME = ("scan_fuzz",)


def chosen(asked: Sequence[str]) -> list[str]:
    """The benchmarks asked for, each once and in order; all of BENCHMARKS if none is named.

    Raises: SystemExit with unknown names.
    """
    known = (*BENCHMARKS, *WHOLE, *BY_NAME)
    if unknown := set(asked).difference(known):
        sys.exit(f"bench: no benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [name for name in known if name in asked] if asked else list(BENCHMARKS)


def heading(results: Sequence[Result]) -> str:
    """Commit and day of the figures, and the machine."""
    of = sorted({f"{result.commit} on {result.date}" for result in results})
    return f"All figures ({', '.join([*of, f'{os.cpu_count()} cores'])})"


def _command(name: str) -> list[str | Path]:
    option = ["whole"] if name in WHOLE else []
    return [sys.executable, BENCH / f"{name.removesuffix('_whole')}.py", *option]


def main() -> None:
    """Run, collect, print."""
    names = chosen(sys.argv[1:])
    broken, seconds = [], {}
    for name in names:
        begun = time.monotonic()
        if subprocess.run(_command(name), check=False).returncode:
            broken.append(name)
        seconds[name] = round(time.monotonic() - begun)
    subprocess.run([CHECKOUT / "tests/hosts/testhosts", "down", "--run", RUN], check=True)

    results = [published(name) for name in names if name not in broken]
    figures = [figure for result in results for figure in result.figures]
    print(f"\n{table(heading(results), figures)}")
    print(f"\nSeconds: {', '.join(f'{name} {took}' for name, took in seconds.items())}")
    missed = [figure.name for figure in figures if figure.met is False]
    if broken or missed:
        sys.exit(f"bench: did not run: {', '.join(broken) or 'none'}; missed: {'; '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
