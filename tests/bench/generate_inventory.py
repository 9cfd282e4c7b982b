#!/usr/bin/env python3
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the tenants of a large inventory; the same arguments always give the same files.

Domain d belongs to tenant d modulo the number of tenants, account a to domain a modulo the number of domains.  Every
password is `benchmark`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
from collections import defaultdict
from pathlib import Path

PASSWORD = "benchmark"
PLANS = """---
mail_plans:
  basic:
    mailbox_quota: 20M
    protocols: [pop3, pop3s, imap, imaps, submission, submissions, sieve]
"""


def password_hash(account: int) -> str:
    """A salted hash that is cheap to make and to verify, so that a benchmark does not measure hashing."""
    salt = hashlib.sha256(str(account).encode()).digest()[:8]
    digest = hashlib.sha512(PASSWORD.encode() + salt).digest()
    return "{SSHA512}" + base64.b64encode(digest + salt).decode()


def generate(folder: Path, accounts: int, domains: int, tenants: int, passwords: str) -> None:
    """Write `tenants/`, `addresses/`, `secrets/` and the plans below `folder`.

    `passwords`: `hash` in the addresses files, `plain` in (unencrypted) secrets files, or `none`.
    """
    by_domain = defaultdict(list)
    for account in range(accounts):
        by_domain[account % domains].append(account)
    for name in ("tenants", "addresses", "secrets", "group_vars/all"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "group_vars/all/plans.yml").write_text(PLANS)
    for tenant in range(tenants):
        owned = range(tenant, domains, tenants)
        file = f"tenant-{tenant:05}.yml"
        lines = ["plan: basic", "domains:", *(f"  d{domain:05}.example:" for domain in owned)]
        (folder / "tenants" / file).write_text("\n".join(lines) + "\n")
        (folder / "addresses" / file).write_text("".join(_section(d, by_domain[d], passwords) for d in owned))
        if passwords == "plain":
            secrets = (
                f"u{account:06}@d{domain:05}.example: {PASSWORD}\n" for domain in owned for account in by_domain[domain]
            )
            (folder / "secrets" / file).write_text("".join(secrets))


def _section(domain: int, accounts: list[int], passwords: str) -> str:
    lines = [f"d{domain:05}.example:", "  accounts:"]
    for account in accounts:
        settings = f' {{password_hash: "{password_hash(account)}"}}' if passwords == "hash" else ""
        lines.append(f"    u{account:06}:{settings}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--domains", type=int, default=200)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--passwords", choices=("hash", "plain", "none"), default="hash")
    arguments = parser.parse_args()
    generate(**vars(arguments))


if __name__ == "__main__":
    main()
