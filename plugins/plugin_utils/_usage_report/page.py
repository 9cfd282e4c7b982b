# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report as a page of HTML, as CSV and as JSON.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from typing import Any, Final

import yaml

from ...module_utils._directory.usage import COUNTERS
from .._settings_sheet.page import environment, size
from . import chart
from .figures import Report

_DEFAULTS: Final = os.path.join(os.path.dirname(__file__), "defaults")

LANGUAGES: Final = ("en", "ja")
#: Columns of the CSV after the tenant's name.
_COLUMNS: Final = ("addresses", "billed", "bytes", "peak_bytes", *COUNTERS)


def html(report: Report, language: str, title: Mapping[str, str]) -> str:
    """The page; `title` has the texts `provider` and `host`.  It loads nothing from elsewhere."""
    pages = environment([_DEFAULTS])
    pages.filters["size"] = lambda value: "–" if value is None else size(value)
    pages.filters["number"] = lambda value: "–" if value is None else f"{value:,}"
    with open(os.path.join(_DEFAULTS, f"{language}.yml"), encoding="utf-8") as file:
        texts = yaml.safe_load(file)
    days = report.days

    def values(line: Any, key: str) -> list[int | None]:
        return [line.by_day.get(day, {}).get(key) for day in days]

    total = report.total
    messages = [
        chart.Series(texts["sent"], "sent", values(total, "sent_messages")),
        chart.Series(texts["received"], "received", values(total, "received_messages")),
    ]
    return pages.get_template("report.html.j2").render(
        report=report,
        texts=texts,
        language=language,
        title=title,
        in_use=chart.area(days, chart.Series(texts["in_use"], "bytes", values(total, "bytes")), size, binary=True),
        billed=chart.area(days, chart.Series(texts["billed"], "billed", values(total, "billed")), _number),
        messages=chart.bars(days, texts["messages"], messages, _number),
        sparkline=lambda line: chart.sparkline(values(line, "bytes")),
    )


def _number(value: int) -> str:
    return f"{value:,}"


def as_csv(report: Report) -> str:
    """A row for each day and tenant, after a byte order mark, by which spreadsheets recognize UTF-8."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["day", "tenant", "name", *_COLUMNS])
    for day in report.days:
        for line in report.lines:
            row = line.by_day.get(day)
            if row:
                writer.writerow([day, line.tenant, _cell(line.name), *(row[key] for key in _COLUMNS)])
    return "\ufeff" + out.getvalue()


def _cell(text: str) -> str:
    """A text that no spreadsheet evaluates as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def as_json(report: Report, usage: Mapping[str, Any]) -> str:
    """The result of mail_usage_info, and the sums of each tenant."""
    tenants = [
        {
            "tenant": line.tenant,
            "name": line.name,
            "addresses": line.addresses,
            "billed": line.billed,
            "bytes": line.bytes,
            "peak_bytes": line.peak_bytes,
            **line.sums,
        }
        for line in report.lines
    ]
    document = {**{key: usage[key] for key in ("from", "to", "now", "days")}, "tenants": tenants}
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
