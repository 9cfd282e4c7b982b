# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""POP3 logins per second with and without a record of each in Valkey, and while Valkey hangs."""

from __future__ import annotations

import statistics

from common import CHECKOUT, Figure, Host, at_least, publish

BENCH = CHECKOUT / "tests" / "bench"
USER, SECONDS, PAIRS = "login0@acme.example", "8", 5


def main() -> None:
    ours = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")
    ours.play("mailhosting.stack.site")
    ours.play(BENCH / "account.yml", bench_account={"address": USER, "password_hash": "{PLAIN}benchmark"})

    def rate(recorded_for: int) -> float:
        ours.play(BENCH / "recording.yml", bench_seconds=recorded_for)
        ours.python(BENCH / "pop3_logins.py", USER, "benchmark", "1")  # processes start
        return float(ours.python(BENCH / "pop3_logins.py", USER, "benchmark", SECONDS)["per_second"])

    # Interleaved, and each way first in turn, so that a slow moment hits both alike.
    pairs = []
    for number in range(PAIRS):
        rates = {recorded_for: rate(recorded_for) for recorded_for in ((0, 1800) if number % 2 else (1800, 0))}
        pairs.append((rates[0], rates[1800]))
    rate(1800)
    ours.shell("systemctl kill --signal=STOP valkey-server")
    try:
        hung = float(ours.python(BENCH / "pop3_logins.py", USER, "benchmark", SECONDS)["per_second"])
    finally:
        ours.shell("systemctl kill --signal=CONT valkey-server")
    plain, recorded = (statistics.median(column) for column in zip(*pairs, strict=True))
    publish(
        "pop_before_smtp",
        [
            Figure("not recorded", plain, "logins/s"),
            Figure("recorded", recorded, "logins/s"),
            at_least("recorded ÷ not", statistics.median(second / first for first, second in pairs), "", 0.95),
            Figure("while Valkey hangs", hung, "logins/s"),
        ],
    )


if __name__ == "__main__":
    main()
