# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beside a host that the last release has set up: deliveries and POP3 logins a second, memory of our resident programs.

The rates are of 7 interleaved pairs each.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import CHECKOUT, RUN, Figure, Host, at_least, at_most, publish
from delivery import BOXES, delivered

sys.path.insert(0, str(CHECKOUT / "tests" / "hosts"))
from released import INVENTORY, tarball

BENCH = CHECKOUT / "tests" / "bench"
PAIRS, MESSAGES, SECONDS = 7, 1000, "5"
#: Prints the memory of all processes of our units in kB; a page that several share counts in parts.
MEMORY = """
for unit in $(systemctl list-units --state=running --plain --no-legend 'mailhosting-*.service' | cut -d ' ' -f 1); do
  for pid in $(cat /sys/fs/cgroup$(systemctl show --property=ControlGroup --value $unit)/cgroup.procs); do
    grep ^Pss: /proc/$pid/smaps_rollup
  done
done | awk '{ sum += $2 } END { print sum }'
"""


def main() -> None:
    inventory = INVENTORY / "hosts.yml"
    # Other benchmarks' hosts are not the release's.
    subprocess.run([CHECKOUT / "tests/hosts/testhosts", "down", "--run", RUN], check=True)
    hosts = {"mx1": Host("mx1", inventory, image="released"), "old": Host("old", inventory, image="released")}
    boxes: dict[str, Any] = {"bench_boxes": BOXES, "bench_plan": "full"}
    with tempfile.TemporaryDirectory() as folder:
        install = ["ansible-galaxy", "collection", "install", "--offline", f"--collections-path={folder}"]
        subprocess.run([*install, str(tarball())], check=True, stdout=subprocess.DEVNULL)
        for name, host in hosts.items():
            host.collections = Path(folder)
            host.play(BENCH / "boxes.yml", bench_hosts=name, **boxes)
            host.collections = None
    hosts["mx1"].play("mailhosting.stack.site")

    def deliver(host: Host) -> float:
        return delivered(host, "box%@bench.example", MESSAGES)

    def log_in(host: Host) -> float:
        return float(host.python(BENCH / "pop3_logins.py", "box0@bench.example", "benchmark", SECONDS)["per_second"])

    def ratio(rate: Callable[[Host], float]) -> tuple[float, float]:
        """The median of ours, and the median of ours ÷ the release's."""
        # The first run opens connections and makes plans.
        for host in hosts.values():
            rate(host)
        pairs = [(rate(hosts["old"]), rate(hosts["mx1"])) for _ in range(PAIRS)]
        return statistics.median(ours for _old, ours in pairs), statistics.median(ours / old for old, ours in pairs)

    (deliveries, delivery_ratio), (logins, login_ratio) = ratio(deliver), ratio(log_in)
    memory = {name: int(host.shell(MEMORY)) / 1000 for name, host in hosts.items()}
    publish(
        "since_release",
        [
            Figure("deliveries", deliveries, "messages/s"),
            at_least("deliveries ÷ the last release's", delivery_ratio, "", 0.97),
            Figure("POP3 logins, {PLAIN}", logins, "logins/s"),
            at_least("POP3 logins ÷ the last release's", login_ratio, "", 0.97),
            Figure("memory of our resident programs, the last release's", memory["old"], "MB"),
            at_most("memory of our resident programs", memory["mx1"], "MB", memory["old"]),
        ],
    )


if __name__ == "__main__":
    main()
