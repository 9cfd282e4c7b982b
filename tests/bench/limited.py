# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with 1,000 tenants that all have limits and a pool, for the benchmarks of the gate.

With the argument `whole` accounts and the host have limits too, and bulk mail is counted: the gate's full work.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from accounts import TENANTS
from common import CHECKOUT, Host

BENCH = CHECKOUT / "tests" / "bench"
#: Asks the gate as Postfix does.
SPEAK = BENCH / "speak_milter.py"
NUMBER = 1000
#: Two windows in either direction that no tenant fills, so that all of them count, and a pool.
PLAN: dict[str, Any] = {
    "mailbox_quota": "100M",
    "tenant_quota": "100G",
    "send_limits": [{"messages": 10**6, "per": "1h", "pause": "2h"}, {"recipients": 10**7, "per": "24h"}],
    "receive_limits": [{"messages": 10**6, "per": "1h", "pause": "2h"}, {"messages": 10**7, "per": "24h"}],
}
#: Whether the gate does its full work; such figures have names of their own.
WHOLE = sys.argv[1:] == ["whole"]
WHAT = "all that it can do" if WHOLE else "limits of two windows and pools"
if WHOLE:
    PLAN |= {
        "account_send_limits": [{"messages": 10**6, "per": "1h"}, {"recipients": 10**7, "per": "24h"}],
        "bulk_mail": {"recipients_per_content": 10**7, "invalid_recipients": 10**6, "per": "1d"},
    }
OF_THE_HOST = [{"messages": 10**8, "per": "1h"}, {"recipients": 10**9, "per": "24h"}]
#: Limits of the first tenants instead.  The very first one is at its limit; the others will reach theirs.
SMALL = "overrides: {{send_limits: [{{messages: {most}, per: 1h, pause: 2h}}]}}\n"
MOST, FIRST_MOST, SMALL_TENANTS = 1000, 10, 5

#: Nothing is counted yet, and every mailbox has a megabyte, so the gate need not measure 100,000 of them.
BEGIN = """
ask() {
  REDISCLI_AUTH=$(cat "/etc/mailhosting/valkey/$1" 2>/dev/null || echo none) \
    valkey-cli -s /run/valkey/valkey.sock --no-auth-warning --user "$@"
}
for try in $(seq 600); do [ -n "$(ask usage GET mh:1:usage:epoch)" ] && break; sleep 0.1; done
for kind in rate pause room total mass unknown; do ask gate --scan --pattern "mh:1:$kind:*"; done |
  sed 's/^/DEL /' | ask gate >/dev/null
runuser -u postgres -- psql --quiet --no-align --tuples-only mailhosting --command="
  SELECT format('SET mh:1:usage:%s/%s@%s/quota/storage 1000000', account_id, local_part, domain)
  FROM directory.address WHERE account_id IS NOT NULL" | ask usage | { ! grep -v OK; }
systemctl restart mailhosting-gate@in mailhosting-gate@out
for try in $(seq 100); do [ -S /var/spool/postfix/mailhosting-gate/out ] && exit 0; sleep 0.1; done
exit 1
"""


def host_with_limits(accounts: int) -> Host:
    """The host with so many accounts, of tenants as generate_inventory.py names them."""
    host = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")
    host.start_anew(**{f"gate_{way}_limits": OF_THE_HOST for way in ("send", "receive") if WHOLE})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = ["python3", str(BENCH / "generate_inventory.py"), name, f"--accounts={accounts}"]
        subprocess.run([*command, f"--domains={NUMBER}", f"--tenants={NUMBER}"], check=True)
        for number in range(SMALL_TENANTS):
            with (folder / "tenants" / f"tenant-{number:05}.yml").open("a") as file:
                file.write(SMALL.format(most=MOST if number else FIRST_MOST))
        variables: dict[str, Any] = {"mail_plans": {"basic": PLAN}}
        variables |= {f"mail_{part}_dir": str(folder / part) for part in ("tenants", "addresses", "secrets")}
        host.play(TENANTS, **variables)
    host.shell(BEGIN)
    return host


def title(benchmark: str) -> str:
    """The name of its stored figures."""
    return f"{benchmark}_whole" if WHOLE else benchmark


def ask(host: Host, task: str, *numbers: int) -> Any:
    """The output of a task of speak_milter.py."""
    return host.python(SPEAK, task, *map(str, numbers))
