# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""notices.usage changed | all: tell the directory how full mailboxes are.

Runs as vmail.  Dovecot says when mail fills or empties a mailbox, but not when its quota becomes another: then, and
every night for whatever was missed, usage is compared.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import psycopg

from ..common import doveadm
from ..common.errors import DoveadmError

#: Accounts that one process of Dovecot looks at.
BATCH: Final = 500


def batches(usernames: Sequence[str]) -> Iterator[Sequence[str]]:
    """In pieces of BATCH."""
    for start in range(0, len(usernames), BATCH):
        yield usernames[start : start + BATCH]


def used(rows: Iterable[Mapping[str, str]]) -> dict[str, int]:
    """KiB in use by username, from the rows of `doveadm quota get`."""
    return {row["username"]: int(row["value"]) for row in rows if row["type"] == "STORAGE" and row["value"].isdigit()}


def main(which: str) -> int:
    """Compare them; the exit code."""
    failed = False
    with psycopg.connect(os.environ["NOTICES_DIRECTORY"], autocommit=True) as connection:
        accounts = connection.execute("SELECT username FROM v1.quota_accounts(%s)", [which == "changed"]).fetchall()
        for batch in batches([username for (username,) in accounts]):
            try:
                rows, complaint = doveadm.ask(batch, "quota get")
                usage = used(rows)
            except (DoveadmError, KeyError) as error:
                usage, complaint = {}, str(error)
            if complaint:
                print(complaint, file=sys.stderr)
                failed = True
            connection.execute("SELECT v1.compare_quotas(%s::jsonb)", [json.dumps(usage)])
    print(f"{len(accounts)} mailboxes looked at")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["changed"], ["all"]):
        sys.exit("usage: notices.usage changed | all")
    sys.exit(main(sys.argv[1]))
