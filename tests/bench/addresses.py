# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new customer with 50 addresses on a host with 10,000 accounts, and a mail to all@ of 10,000 members."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from accounts import TENANTS
from common import CHECKOUT, Figure, Host, at_most, publish
from generate_inventory import password_hash

MEMBERS = 10_000
HASH = password_hash(0)
#: Sends a mail to all@; prints the seconds until the reply to its end.
SEND = """
import smtplib, time
with smtplib.SMTP("127.0.0.1", 25, "bench.outside.example", timeout=120) as session:
    session.ehlo()
    session.mail("bench@outside.example")
    code, text = session.rcpt("all@big.example")
    assert code == 250, text
    started = time.monotonic()
    code, text = session.data(b"Subject: to all\\r\\n\\r\\nx\\r\\n")
    assert code == 250, text
    print(time.monotonic() - started)
"""


def declare(folder: Path, tenant: str, accounts: int) -> None:
    """Write the files of one tenant with TENANT.example."""
    lines = [f'    u{number}: {{password_hash: "{HASH}"}}' for number in range(accounts)]
    (folder / "tenants" / f"{tenant}.yml").write_text(f"plan: basic\ndomains: {{{tenant}.example: }}\n")
    (folder / "addresses" / f"{tenant}.yml").write_text("\n".join([f"{tenant}.example:", "  accounts:", *lines]) + "\n")


def main() -> None:
    host = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")
    host.start_anew()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("tenants", "addresses", "secrets"):
            (folder / part).mkdir()
        variables: dict[str, Any] = {"mail_plans": {"basic": {"all_address": "everybody"}}}
        variables |= {f"mail_{part}_dir": str(folder / part) for part in ("tenants", "addresses", "secrets")}
        declare(folder, "big", MEMBERS)
        host.play(TENANTS, **variables)
        declare(folder, "new", 50)
        onboarded, reloads = host.with_reloads(lambda: host.play(TENANTS, **variables))
    # Without deliveries: the figure is how long the sender waits.
    host.shell("postconf -e defer_transports=lmtp && postfix reload")
    try:
        accepted = float(host.shell(f"python3 - <<'END'\n{SEND}\nEND"))
    finally:
        host.shell("postconf -X defer_transports && postsuper -d ALL && postfix reload")
    publish(
        "addresses",
        [
            at_most("a tenant with 50 addresses onboarded beside 10,000", onboarded, "s", 5),
            Figure("reloads meanwhile", reloads, ""),
            at_most("a mail to all@ with 10,000 members accepted", accepted, "s", 5),
        ],
    )


if __name__ == "__main__":
    main()
