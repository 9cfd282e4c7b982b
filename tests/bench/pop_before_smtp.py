# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""POP3 logins per second, and CPU time of each, with and without a record in Valkey; and while Valkey hangs."""

from __future__ import annotations

import statistics

from common import CHECKOUT, Figure, Host, at_least, at_most, publish

BENCH = CHECKOUT / "tests" / "bench"
SECONDS, PAIRS = "3", 8
#: Accounts by scheme; None: the module makes the default's hash.
SCHEMES = {"PLAIN": "{PLAIN}benchmark", "ARGON2ID": None}
USERS = {scheme: f"recorded{number}@acme.example" for number, scheme in enumerate(SCHEMES)}


def main() -> None:
    ours = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")
    ours.play("mailhosting.stack.site")
    for scheme, hashed in SCHEMES.items():
        secret = {"password_hash": hashed} if hashed else {"password": "benchmark"}
        ours.play(BENCH / "account.yml", bench_account={"address": USERS[scheme], **secret})

    def logins(scheme: str, seconds: str = SECONDS) -> dict[str, float]:
        return ours.python(BENCH / "pop3_logins.py", USERS[scheme], "benchmark", seconds)  # type: ignore[no-any-return]

    def all_logins(recorded_for: int) -> dict[str, dict[str, float]]:
        ours.play(BENCH / "recording.yml", bench_seconds=recorded_for)
        logins("PLAIN", "1")  # starts processes
        return {scheme: logins(scheme) for scheme in SCHEMES}

    pairs = []
    for number in range(PAIRS):  # the first way alternates, so that a slow moment hits both alike
        measured = {recorded_for: all_logins(recorded_for) for recorded_for in ((0, 1800) if number % 2 else (1800, 0))}
        pairs.append((measured[0], measured[1800]))

    def middle(what: str, scheme: str = "PLAIN") -> tuple[float, float]:
        """The median without the record and with it."""
        return tuple(statistics.median(side[scheme][what] for side in sides) for sides in zip(*pairs, strict=True))

    def ratio(what: str, scheme: str = "PLAIN") -> float:
        return statistics.median(after[scheme][what] / before[scheme][what] for before, after in pairs)

    ours.play(BENCH / "recording.yml", bench_seconds=1800)
    ours.shell("systemctl kill --signal=STOP valkey-server")
    try:
        hung = logins("PLAIN")["per_second"]
    finally:
        ours.shell("systemctl kill --signal=CONT valkey-server")
    (rate_without, rate_with), (cpu_without, cpu_with) = middle("per_second"), middle("cpu_microseconds")
    publish(
        "pop_before_smtp",
        [
            Figure("{PLAIN}, not recorded", rate_without, "logins/s"),
            Figure("{PLAIN}, recorded", rate_with, "logins/s"),
            *(at_least(f"{{{scheme}}}, recorded ÷ not", ratio("per_second", scheme), "", 0.95) for scheme in SCHEMES),
            # Less noisy than the rate while others use the machine.
            Figure("{PLAIN}, CPU of a login, not recorded", cpu_without, "µs"),
            Figure("{PLAIN}, CPU of a login, recorded", cpu_with, "µs"),
            at_most("{PLAIN}, CPU, recorded ÷ not", ratio("cpu_microseconds"), "", 1.05),
            Figure("{ARGON2ID}, CPU, recorded ÷ not", ratio("cpu_microseconds", "ARGON2ID"), ""),
            Figure("{PLAIN}, while Valkey hangs", hung, "logins/s"),
        ],
    )


if __name__ == "__main__":
    main()
