# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivered messages per second of 20 kB with the gate and without, from port 25 through LMTP into 50 mailboxes."""

from __future__ import annotations

import statistics

from common import Figure, at_least, publish
from delivery import delivered
from limited import NUMBER, WHAT, host_with_limits, title

ACCOUNTS, MESSAGES, LENGTH, ROUNDS = 10 * NUMBER, 1000, 20_480, 7
#: The first accounts of fifty tenants.
RECIPIENT, NUMBERS = "u0000%@d000%.example", "-w 0 49"
#: Microseconds of processor time that the whole host has used.
SPENT = "sed -n 's/^usage_usec //p' /sys/fs/cgroup/cpu.stat"


def main() -> None:
    host = host_with_limits(ACCOUNTS)
    gate = host.shell("postconf -h smtpd_milters").strip()

    def rate(milters: str, messages: int = MESSAGES) -> tuple[float, float]:
        """Messages per second, and milliseconds of processor time for each, which other load affects less."""
        host.shell(f"postconf -e 'smtpd_milters={milters}' && postfix reload")
        before = int(host.shell(SPENT))
        found = delivered(host, RECIPIENT, messages, length=LENGTH, numbers=NUMBERS)
        return found, (int(host.shell(SPENT)) - before) / 1000 / messages

    try:
        # A first round starts daemons, opens connections and plans queries.
        rate(gate, 500)
        pairs = [(rate(""), rate(gate)) for _round in range(ROUNDS)]
    finally:
        host.shell(f"postconf -e 'smtpd_milters={gate}' && postfix reload")
    without, with_gate = (statistics.median(rates) for rates in zip(*((a[0], b[0]) for a, b in pairs), strict=True))
    spent, spent_with = (statistics.median(times) for times in zip(*((a[1], b[1]) for a, b in pairs), strict=True))
    ratio = statistics.median(mine[0] / theirs[0] for theirs, mine in pairs)
    publish(
        title("gate_throughput"),
        [
            Figure("messages of 20 kB delivered without the gate", without, "messages/s"),
            Figure(f"with it, {WHAT}", with_gate, "messages/s"),
            at_least("with ÷ without", ratio, "", 0.85),
            Figure("processor time of a message without the gate", spent, "ms"),
            Figure("with it", spent_with, "ms"),
        ],
    )


if __name__ == "__main__":
    main()
