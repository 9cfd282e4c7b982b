# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A night of retention over 1,000 mailboxes of 20 mails: the first, one with nothing to do, and one that removes."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from common import CHECKOUT, Figure, Host, at_most, median, publish

BENCH = CHECKOUT / "tests" / "bench"
ACCOUNTS, MAILS = 1000, 20
READ = ACCOUNTS * MAILS * 3 // 4
#: Prints the run's output and, last, its seconds of wall time.
NIGHT = """
day=$(date --utc --date='{days} days' +%F)
start=$(date +%s.%N)
cd / && runuser -u vmail -- /usr/lib/mailhosting/run retention run --state={state} --today=$day
end=$(date +%s.%N)
python3 -c "print($end - $start)"
"""


def night(host: Host, state: str, days: int, removed: int) -> float:
    """Seconds of the night in so many days.

    Raises: RuntimeError unless it removes exactly so many mails.
    """
    *said, seconds = host.shell(NIGHT.format(state=state, days=days)).splitlines()
    if f"{removed} mails," not in said[-1]:
        raise RuntimeError(f"not {removed} mails: {said}")
    return float(seconds)


def main() -> None:
    host = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")
    host.shell("rm -rf /var/vmail/*")
    host.start_anew()
    with tempfile.TemporaryDirectory() as folder:
        command = ["python3", str(BENCH / "generate_inventory.py"), folder, f"--accounts={ACCOUNTS}", "--domains=1"]
        subprocess.run([*command, "--tenants=1", "--passwords=hash"], check=True)
        host.play(
            "mailhosting.stack.tenants",
            mail_plans={"basic": {"retention": {"read": "14d", "trash": "30d"}}},
            mail_tenants_dir=str(Path(folder) / "tenants"),
            mail_addresses_dir=str(Path(folder) / "addresses"),
            mail_secrets_dir=str(Path(folder) / "secrets"),
        )
    host.python(BENCH / "fill_mailboxes.py", "d00000.example", str(MAILS))
    state = host.shell("runuser -u vmail -- mktemp -d /tmp/retention.XXXXXX").strip()
    # New mailboxes for Dovecot: it lists them and writes its indexes.
    cold = night(host, state, 0, 0)
    warm = median(5, lambda: night(host, state, 1, 0))
    removing = night(host, state, 14, READ)
    publish(
        "retention",
        [
            Figure("1,000 mailboxes of 20 mails, the first night", cold, "s"),
            at_most("the same, a night that removes nothing", warm, "s", 5),
            Figure(f"the same, a night that removes {READ:,}", removing, "s"),
        ],
    )


if __name__ == "__main__":
    main()
