# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""POP3 logins per second with and without a record of each in Valkey, and while Valkey hangs."""

from __future__ import annotations

import statistics

from common import CHECKOUT, Figure, Host, at_least, publish

BENCH = CHECKOUT / "tests" / "bench"
SECONDS, PAIRS = "8", 3
#: Accounts by scheme; None: the module makes the default's hash.
SCHEMES = {"PLAIN": "{PLAIN}benchmark", "ARGON2ID": None}
USERS = {scheme: f"recorded{number}@acme.example" for number, scheme in enumerate(SCHEMES)}


def main() -> None:
    ours = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")
    ours.play("mailhosting.stack.site")
    for scheme, hashed in SCHEMES.items():
        secret = {"password_hash": hashed} if hashed else {"password": "benchmark"}
        ours.play(BENCH / "account.yml", bench_account={"address": USERS[scheme], **secret})

    def rate(scheme: str, seconds: str = SECONDS) -> float:
        return float(ours.python(BENCH / "pop3_logins.py", USERS[scheme], "benchmark", seconds)["per_second"])

    def rates(recorded_for: int) -> dict[str, float]:
        ours.play(BENCH / "recording.yml", bench_seconds=recorded_for)
        rate("PLAIN", "1")  # processes start
        return {scheme: rate(scheme) for scheme in SCHEMES}

    pairs = []
    for number in range(PAIRS):  # each way first in turn, so that a slow moment hits both alike
        measured = {recorded_for: rates(recorded_for) for recorded_for in ((0, 1800) if number % 2 else (1800, 0))}
        pairs.append((measured[0], measured[1800]))
    ours.play(BENCH / "recording.yml", bench_seconds=1800)
    ours.shell("systemctl kill --signal=STOP valkey-server")
    try:
        hung = rate("PLAIN")
    finally:
        ours.shell("systemctl kill --signal=CONT valkey-server")
    cost = {scheme: statistics.median(after[scheme] / before[scheme] for before, after in pairs) for scheme in SCHEMES}
    publish(
        "pop_before_smtp",
        [
            Figure("{PLAIN}, not recorded", statistics.median(before["PLAIN"] for before, _ in pairs), "logins/s"),
            Figure("{PLAIN}, recorded", statistics.median(after["PLAIN"] for _, after in pairs), "logins/s"),
            *(at_least(f"{{{scheme}}}, recorded ÷ not", ratio, "", 0.95) for scheme, ratio in cost.items()),
            Figure("{PLAIN}, while Valkey hangs", hung, "logins/s"),
        ],
    )


if __name__ == "__main__":
    main()
