# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a report, from the rows of mail_usage_info.  Pure.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from ...module_utils._directory.usage import COUNTERS

Row = Mapping[str, Any]


@dataclass
class Line:
    """One tenant over the days, or all tenants together.  None: unknown."""

    tenant: str
    name: str  # for people
    addresses: int | None = None  # on the last day with a value
    billed: int | None = None
    bytes: int | None = None
    pool: int | None = None  # bytes that it may have now
    peak_bytes: int | None = None
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    by_day: dict[date, Row] = field(default_factory=dict)

    def series(self, key: str) -> list[tuple[date, int | None]]:
        """(day, value) of every day."""
        return [(day, row.get(key)) for day, row in sorted(self.by_day.items())]


@dataclass(frozen=True)
class Report:
    """The content of a page."""

    first: date
    last: date
    lines: list[Line]  # tenants, by name
    total: Line

    @property
    def days(self) -> list[date]:
        """Every day, also those without values."""
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]


def report(usage: Mapping[str, Any], names: Mapping[str, str]) -> Report:
    """The report of the result of mail_usage_info; `names` are tenants' names for people."""
    now: Mapping[str, Row] = usage["now"]
    lines: dict[str, Line] = {}
    for row in usage["days"]:
        tenant = row["tenant"]
        line = lines.setdefault(tenant, Line(tenant, names.get(tenant, tenant)))
        line.by_day[date.fromisoformat(row["day"])] = row
    for tenant, row in now.items():
        line = lines.setdefault(tenant, Line(tenant, names.get(tenant, tenant)))
        line.pool = row["pool"]
    for line in lines.values():
        _finish(line)
    ordered = sorted(lines.values(), key=lambda line: line.tenant)
    return Report(date.fromisoformat(usage["from"]), date.fromisoformat(usage["to"]), ordered, _total(ordered))


def _finish(line: Line) -> None:
    for key in ("addresses", "billed", "bytes"):
        known = [value for _day, value in line.series(key) if value is not None]
        setattr(line, key, known[-1] if known else None)
    line.peak_bytes = _most(value for _day, value in line.series("peak_bytes"))
    for key in COUNTERS:
        line.sums[key] = sum(row[key] for row in line.by_day.values())


def _total(lines: list[Line]) -> Line:
    total = Line("", "")
    for day in sorted({day for line in lines for day in line.by_day}):
        rows = [line.by_day[day] for line in lines if day in line.by_day]
        keys = ("addresses", "billed", "bytes", *COUNTERS)
        # The peak of the sum: the tenants' own peaks were at different times.
        total.by_day[day] = {key: _sum(row[key] for row in rows) for key in keys}
    _finish(total)
    total.peak_bytes = _most(value for _day, value in total.series("bytes"))
    return total


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
