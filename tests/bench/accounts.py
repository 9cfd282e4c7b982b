# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts: import, no-change runs, one more account, growth, and the effect of a commit on lookups.

Needs about 16 minutes.  Every figure is the wall time of a whole playbook over pipelined ssh.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from common import CHECKOUT, Figure, Host, at_least, at_most, median, publish, wall
from generate_inventory import PASSWORD, password_hash

BENCH = CHECKOUT / "tests" / "bench"
EMPTY = BENCH / "empty.yml"
LOOP = BENCH / "loop.yml"
TENANTS = "mailhosting.stack.tenants"
#: accounts, domains, tenants
SIZES = ((200, 20, 10), (10_000, 200, 50), (100_000, 20_000, 10_000))
#: A plan with the host requirements of the demo's tenants, and one with another: no tenant has all@ any more.
AS_BEFORE: dict[str, Any] = {"all_address": True}
ANEW: dict[str, Any] = {}


class Estate:
    """A generated inventory of tenants, and the host that gets it."""

    def __init__(self, host: Host, folder: Path, size: tuple[int, int, int], plan: dict[str, Any]) -> None:
        self.host, self.folder, self.plan = host, folder, plan
        accounts, domains, tenants = size
        command = ["python3", str(BENCH / "generate_inventory.py"), str(folder), f"--accounts={accounts}"]
        subprocess.run([*command, f"--domains={domains}", f"--tenants={tenants}", "--passwords=hash"], check=True)
        self.variables = {
            "mail_plans": {"basic": plan},
            "mail_tenants_dir": str(folder / "tenants"),
            "mail_addresses_dir": str(folder / "addresses"),
            "mail_secrets_dir": str(folder / "secrets"),
        }

    def run(self) -> float:
        return self.host.play(TENANTS, **self.variables)

    def first_run(self) -> float:
        """Seconds of the first run.

        Raises: RuntimeError unless the run reconfigures the daemons exactly if its plan is ANEW.
        """
        took, reloads = self.host.with_reloads(self.run)
        if bool(reloads) is not (self.plan is ANEW):
            raise RuntimeError(f"Postfix and Dovecot were reloaded {reloads} times by a plan of {self.plan}")
        return took

    def add(self, name: str) -> str:
        """Declare one more account; returns its address."""
        file = min((self.folder / "addresses").iterdir())
        lines = file.read_text().splitlines()
        start = next(number for number, line in enumerate(lines) if line.strip() == "accounts:")
        indent = len(lines[start]) - len(lines[start].lstrip()) + 2
        hashed = json.dumps(password_hash(0))
        lines.insert(start + 1, f"{' ' * indent}{name}: {{password_hash: {hashed}}}")
        file.write_text("\n".join(lines) + "\n")
        domain = next(line for line in reversed(lines[: start + 1]) if line and not line.startswith((" ", "-", "#")))
        return f"{name}@{domain.rstrip(':').strip(chr(34))}"

    def one_more(self) -> float:
        """Seconds from the run's start until a new account has logged in."""
        address = self.add(f"new{time.monotonic_ns()}")

        def onboard() -> None:
            self.run()
            while "auth succeeded" not in self.host.shell(f"doveadm auth test {address} {PASSWORD} || true"):
                time.sleep(0.05)

        return wall(onboard)


def main() -> None:
    figures = []
    host = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")
    host.play("mailhosting.stack.site")
    empty = median(3, lambda: host.play(EMPTY))
    figures.append(Figure("an empty play", empty, "s"))
    imports, unchanged, added = {}, {}, {}
    for size in SIZES:
        accounts = size[0]
        host.start_anew()
        with tempfile.TemporaryDirectory() as folder:
            estate = Estate(host, Path(folder), size, AS_BEFORE)
            if accounts == SIZES[-1][0]:
                watcher = host.start_python(BENCH / "watch_lookups.py", "taro@acme.example", "40")
                time.sleep(3)
            imports[accounts] = estate.first_run()
            if accounts == SIZES[-1][0]:
                stalls = json.loads(watcher.communicate()[0])
            unchanged[accounts] = median(3, estate.run)
            added[accounts] = median(3, estate.one_more)
            if accounts == 10_000:
                looped = host.play(LOOP, bench_domain=estate.add("unused").partition("@")[2]) - empty
    few, many, most = (size[0] for size in SIZES)
    host.start_anew()
    with tempfile.TemporaryDirectory() as folder:
        anew = Estate(host, Path(folder), SIZES[1], ANEW).first_run()
    figures += [
        at_most("10,000 accounts, first import", imports[many], "s", 8),
        at_most("the same where the host is configured anew", anew, "s", 8),
        at_most("10,000 accounts, unchanged, over an empty play", unchanged[many] - empty, "s", 3),
        at_most("one of 10,000 added until it logs in, over an empty play", added[many] - empty, "s", 3),
        at_most("the same ÷ with 200 accounts", added[many] / added[few], "", 1.2),
        Figure("100,000 accounts in 10,000 files, first import", imports[most], "s"),
        at_most("100,000 accounts in 10,000 files, unchanged", unchanged[most], "s", 20),
        Figure("one of 100,000 added until it logs in", added[most], "s"),
        Figure("slope of an import", (imports[most] - imports[many]) / (most - many) * 1e6, "µs/account"),
        Figure("slope of an unchanged run", (unchanged[most] - unchanged[many]) / (most - many) * 1e6, "µs/account"),
        at_most("longest Postfix lookup while 100,000 are committed", stalls["postfix"]["longest_ms"], "ms", 100),
        at_most("longest Dovecot lookup while 100,000 are committed", stalls["dovecot"]["longest_ms"], "ms", 100),
        Figure("100 accounts by a loop over mail_account", looped, "s"),
        at_least("the same ÷ 100 accounts' share of the bulk import", looped / (imports[many] / many * 100), "", 100),
    ]
    publish("accounts", figures)


if __name__ == "__main__":
    main()
