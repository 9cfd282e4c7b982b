# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""usage.py changed | all: tell the directory how full mailboxes are.

Runs as vmail.  Dovecot says when mail fills or empties a mailbox, but not when its quota becomes another: then, and
every night for whatever was missed, usage is compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final

#: Accounts that one process of Dovecot looks at.
BATCH: Final = 500


def batches(usernames: Sequence[str]) -> Iterator[Sequence[str]]:
    """In pieces of BATCH."""
    for start in range(0, len(usernames), BATCH):
        yield usernames[start : start + BATCH]


def parse(printed: str) -> dict[str, int]:
    """KiB in use by username, from `doveadm -f json quota get`."""
    return {
        row["username"]: int(row["value"])
        for row in json.loads(printed or "[]")
        if row["type"] == "STORAGE" and row["value"].isdigit()
    }


def ask(usernames: Sequence[str]) -> tuple[dict[str, int], str]:
    """How full their mailboxes are, and what went wrong."""
    # Arguments can be read by everybody on the host; doveadm takes no list from a pipe.
    with os.fdopen(os.memfd_create("users"), "w") as file:
        file.write("".join(f"{username}\n" for username in usernames))
        file.flush()
        command = ["doveadm", "-f", "json", "quota", "get", "-F", "/dev/stdin"]
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, check=False, cwd="/")
    try:
        return parse(done.stdout), done.stderr.strip() if done.returncode else ""
    except (KeyError, ValueError) as error:
        return {}, f"doveadm said {done.stdout[:100]!r} ({error}); {done.stderr.strip()}"


def main(which: str) -> int:
    """Compare them; the exit code."""
    # On hosts only, where the package is; the rest is tested anywhere.
    import psycopg

    failed = False
    with psycopg.connect(os.environ["NOTICES_DIRECTORY"], autocommit=True) as connection:
        rows = connection.execute("SELECT username FROM v1.quota_accounts(%s)", [which == "changed"]).fetchall()
        for batch in batches([username for (username,) in rows]):
            usage, error = ask(batch)
            if error:
                print(error, file=sys.stderr)
                failed = True
            connection.execute("SELECT v1.compare_quotas(%s::jsonb)", [json.dumps(usage)])
    print(f"{len(rows)} mailboxes looked at")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["changed"], ["all"]):
        sys.exit("usage: usage.py changed | all")
    sys.exit(main(sys.argv[1]))
