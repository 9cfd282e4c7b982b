# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run, for programs and for people, and the folder that keeps the last reports."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .run import Outcome


def report_lines(outcome: Outcome, began: datetime, seconds: float, *, dry_run: bool) -> list[dict[str, Any]]:
    """The report: a line for each account and rule that removed mail, then the sums of each tenant and of the run."""
    lines: list[dict[str, Any]] = [
        {"of": "account", "tenant": tenant, "account": account, "rule": rule, "mails": mails, "bytes": size}
        for (tenant, account, rule), mails in sorted(outcome.mails.items())
        for size in [outcome.sizes[tenant, account, rule]]
    ]
    sums: dict[tuple[str, str], Counter[str]] = {}
    for line in lines:
        counts = {"accounts": 1, "mails": line["mails"], "bytes": line["bytes"]}
        sums.setdefault((line["tenant"], line["rule"]), Counter()).update(counts)
    lines += [{"of": "tenant", "tenant": tenant, "rule": rule, **counts} for (tenant, rule), counts in sums.items()]
    run = {"of": "run", "began": began.isoformat(timespec="seconds"), "seconds": round(seconds, 1), "dry_run": dry_run}
    run |= {"accounts": outcome.accounts, "mails": outcome.mails.total(), "bytes": outcome.sizes.total()}
    return [*lines, {**run, "errors": outcome.errors}]


def table(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """A report for people: tenants' sums, and the run's."""
    rows = [f"{'tenant':<24} {'rule':<6} {'accounts':>9} {'mails':>9} {'bytes':>15}"]
    ending = []
    for line in lines:
        if line["of"] == "tenant":
            rows.append("{tenant:<24} {rule:<6} {accounts:>9} {mails:>9} {bytes:>15}".format_map(line))
        if line["of"] == "run":
            went = "would go" if line["dry_run"] else "went"
            ending.append(
                f"{line['mails']} mails, {line['bytes']} bytes {went}; {line['accounts']} accounts have rules;"
                f" began {line['began']}, took {line['seconds']} s"
            )
            ending += [f"error: {error}" for error in line["errors"]]
    return rows + ending if len(rows) > 1 else ending


def write_report(folder: Path, lines: Iterable[Mapping[str, Any]], name: str, keep_days: int, now: float) -> None:
    """Write the report NAME.jsonl, and remove those written more than `keep_days` ago."""
    folder.mkdir(exist_ok=True)
    partial = folder / f"{name}.partial"
    partial.write_text("".join(json.dumps(line) + "\n" for line in lines))
    partial.rename(folder / f"{name}.jsonl")
    for old in folder.iterdir():
        if old.stat().st_mtime < now - keep_days * 86400:
            old.unlink()


def last_report(folder: Path) -> list[dict[str, Any]]:
    """The report written last.  Raises: FileNotFoundError."""
    reports = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    if not reports:
        raise FileNotFoundError(f"no report in {folder}: there has been no run")
    return [json.loads(line) for line in reports[-1].read_text().splitlines()]
