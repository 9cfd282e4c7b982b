# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""POP3 logins per second for every offered scheme, beside Debian's stock service mode on a host of its own."""

from __future__ import annotations

from common import CHECKOUT, Figure, Host, at_least, publish

BENCH = CHECKOUT / "tests" / "bench"
#: By name, a hash of "benchmark"; None: the module makes the default one; "": `doveadm pw` makes it.
SCHEMES = {"PLAIN": "{PLAIN}benchmark", "ARGON2ID": None, "SHA512-CRYPT": "", "BLF-CRYPT": ""}
SECONDS = "8"


def main() -> None:
    ours = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")
    ours.play("mailhosting.stack.site")
    stock = Host("stock", BENCH / "stock" / "hosts.yml")
    stock.play(BENCH / "stock" / "stock.yml")
    users = {scheme: f"login{number}@acme.example" for number, scheme in enumerate(SCHEMES)}
    for scheme, hashed in SCHEMES.items():
        secret = {"password": "benchmark"}
        if hashed is not None:
            secret = {"password_hash": hashed or ours.shell(f"doveadm pw -s {scheme} -p benchmark").strip()}
        ours.play(BENCH / "account.yml", bench_account={"address": users[scheme], **secret})

    def rate(host: Host, user: str) -> float:
        return float(host.python(BENCH / "pop3_logins.py", user, "benchmark", SECONDS)["per_second"])

    rates: dict[str, list[float]] = {scheme: [] for scheme in users}
    stock_rates = []
    for _ in range(3):  # interleaved, so that a slow moment hits all alike
        stock_rates.append(rate(stock, "box0@stock.example"))
        for scheme, user in users.items():
            rates[scheme].append(rate(ours, user))
    middle = {scheme: sorted(seen)[1] for scheme, seen in rates.items()}
    plain, packaged = middle["PLAIN"], sorted(stock_rates)[1]
    publish(
        "logins",
        [
            Figure("stock service mode, {PLAIN}", packaged, "logins/s"),
            Figure("{PLAIN}", plain, "logins/s"),
            at_least("{PLAIN} ÷ stock", plain / packaged, "", 4),
            *(Figure(f"{{{scheme}}}", value, "logins/s") for scheme, value in middle.items() if scheme != "PLAIN"),
            *(
                Figure(f"{{{scheme}}} ÷ {{PLAIN}}", value / plain, "")
                for scheme, value in middle.items()
                if scheme != "PLAIN"
            ),
        ],
    )


if __name__ == "__main__":
    main()
