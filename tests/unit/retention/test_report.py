# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of a report, and how long it is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from mailhosting.retention import report
from mailhosting.retention.run import Outcome

from .build import DAY


def outcome_of_two() -> Outcome:
    outcome = Outcome(accounts=7)
    for user, mails in (("taro", 2), ("hanako", 3)):
        outcome.mails["acme", f"{user}@acme.example", "read"] = mails
        outcome.sizes["acme", f"{user}@acme.example", "read"] = mails * 10
    return outcome


def test_a_report_has_accounts_their_tenants_sums_and_the_runs() -> None:
    lines = report.report_lines(outcome_of_two(), datetime(2026, 1, 2, tzinfo=UTC), 1.25, dry_run=True)

    hanako, taro, acme, run = lines
    assert hanako == {
        "of": "account",
        "tenant": "acme",
        "account": "hanako@acme.example",
        "rule": "read",
        "mails": 3,
        "bytes": 30,
    }
    assert taro["mails"] == 2
    assert acme == {"of": "tenant", "tenant": "acme", "rule": "read", "accounts": 2, "mails": 5, "bytes": 50}
    assert run == {
        "of": "run",
        "began": "2026-01-02T00:00:00+00:00",
        "seconds": 1.2,
        "dry_run": True,
        "accounts": 7,
        "mails": 5,
        "bytes": 50,
        "errors": [],
    }
    _heading, row, ending = report.table(lines)
    assert row.split() == ["acme", "read", "2", "5", "50"]
    assert ending.startswith("5 mails, 50 bytes would go; 7 accounts have rules")


def test_reports_are_kept_for_some_days(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    now = datetime.now(tz=UTC).timestamp()
    report.write_report(reports, [{"of": "run", "number": 1}], "first", 90, now)
    report.write_report(reports, [{"of": "run", "number": 2}], "second", 90, now)
    assert report.last_report(reports) == [{"of": "run", "number": 2}]

    report.write_report(reports, [{"of": "run", "number": 3}], "third", 90, now + 91 * DAY)

    with pytest.raises(FileNotFoundError, match="no report"):
        report.last_report(reports)


def test_without_a_run_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there has been no run"):
        report.last_report(tmp_path / "reports")
