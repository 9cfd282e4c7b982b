# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the address of the demo's host, and its logins."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
INVENTORY = CHECKOUT / "inventories" / "demo"
RUN = CHECKOUT / ".cache" / "hosts" / "demo"

PORTS = (
    ("read mail", "POP3 110 and IMAP 143 with STARTTLS, POP3S 995, IMAPS 993, ManageSieve 4190"),
    ("send mail", "submission 587 with STARTTLS, submissions 465 with TLS; both with the login"),
    ("receive mail", "SMTP 25"),
)


def main() -> None:
    """Print the summary."""
    inventories = [INVENTORY / "hosts.yml", RUN / "inventory.yml"]
    command = ["ansible-inventory", "--list", *(f"--inventory={path}" for path in inventories)]
    listing = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    logins: dict[str, str] = {}
    for path in sorted((INVENTORY / "secrets").glob("*.yml")):
        logins |= yaml.safe_load(path.read_text()) or {}
    width = max(map(len, logins))

    print("\nTry it by hand:")
    for name in listing["mail"]["hosts"]:
        host = listing["_meta"]["hostvars"][name]
        address = host["ansible_host"]
        print(
            f"  {name} = {address}, known to mail programs as {host['mail_hostname']} (certificate of its own small CA)"
        )
        for what, ports in PORTS:
            print(f"    {what + ':':14}{ports}")
        print("  Logins:")
        for login, password in logins.items():
            print(f"    {login:{width}}  {password}")
        login, password = next(iter(logins.items()))
        print("  For example:")
        print(f"    curl --insecure --user '{login}:{password}' pop3s://{address}/")
        print(f"    ssh -F {RUN.relative_to(CHECKOUT) / 'ssh_config'} {name} journalctl --follow")
    print("  make demo-down removes it all.")


if __name__ == "__main__":
    main()
