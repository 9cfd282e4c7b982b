# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host as root: puts mails into every mailbox of a domain as after use, three of four of them read.

Usage: fill_mailboxes.py DOMAIN MAILS; prints the number of mailboxes as JSON.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

BODY = b"From: a@outside.example\nSubject: benchmark\n\n" + b"y" * 2000 + b"\n"
ACCOUNTS = "SELECT account_id FROM directory.address WHERE domain = '{}' AND account_id IS NOT NULL"


def main() -> None:
    domain, mails = sys.argv[1], int(sys.argv[2])
    query = ["psql", "--tuples-only", "--no-align", "--dbname=mailhosting", f"--command={ACCOUNTS.format(domain)}"]
    found = subprocess.run(["runuser", "-u", "postgres", "--", *query], check=True, capture_output=True, cwd="/")
    vmail = pwd.getpwnam("vmail")
    os.setgid(vmail.pw_gid)
    os.setuid(vmail.pw_uid)
    now = int(time.time())
    # Dovecot reads both sizes from the name: S is the stored size, W the size with CRLF.
    lines = BODY.count(b"\n")
    sizes = f"S={len(BODY)},W={len(BODY) + lines}"
    accounts = [int(line) for line in found.stdout.split()]
    for account in accounts:
        maildir = Path(f"/var/vmail/{account % 100:02d}/{account}/Maildir")
        for part in ("cur", "new", "tmp"):
            (maildir / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(mails):
            came = now - number * 86400
            path = maildir / "cur" / f"{came}.M{number}P1.bench,{sizes}:2,{'S' if number % 4 else ''}"
            path.write_bytes(BODY)
            os.utime(path, (came, came))
    print(json.dumps(len(accounts)))


main()
