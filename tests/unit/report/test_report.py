# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The usage report: figures, charts, files."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.usage import COUNTERS
from ansible_collections.mailhosting.stack.plugins.plugin_utils._usage_report import chart, figures, page

DAYS = [date(2026, 11, 1) + timedelta(days=number) for number in range(5)]
DEFAULTS = Path(page.__file__).parent / "defaults"
TITLE = {"provider": "さくら & Co. <mail>", "host": "mx1"}


def row(day: int, tenant: str, **values: Any) -> dict[str, Any]:
    counters = dict.fromkeys(COUNTERS, 0)
    known = {"addresses": 3, "billed": 10, "bytes": 100, "peak_bytes": 150}
    return {"day": f"2026-11-{day:02}", "tenant": tenant, **counters, **known, **values}


def usage(*rows: dict[str, Any], **pools: int | None) -> dict[str, Any]:
    now = {name: {"pool": pool} for name, pool in pools.items()}
    return {"from": "2026-11-01", "to": "2026-11-05", "days": list(rows), "now": now}


def test_figures() -> None:
    report = figures.report(
        usage(
            row(1, "acme", sent_messages=2, bytes=500, peak_bytes=700),
            row(1, "bolt", sent_messages=1),
            row(3, "acme", sent_messages=5, addresses=None, billed=None, bytes=None, peak_bytes=None),
            acme=1000,
            new=None,
        ),
        {"acme": "アクメ"},
    )
    acme, bolt, new = report.lines
    assert (acme.name, bolt.name, new.name) == ("アクメ", "bolt", "new")
    assert (acme.addresses, acme.bytes, acme.peak_bytes, acme.pool, acme.sums["sent_messages"]) == (
        3,
        500,
        700,
        1000,
        7,
    )
    assert (new.addresses, new.bytes) == (None, None)
    # The peak of all tenants is that of the daily sums.
    assert (report.total.bytes, report.total.peak_bytes, report.total.sums["sent_messages"]) == (600, 600, 8)
    assert report.days == DAYS


@pytest.mark.parametrize(
    ("highest", "binary", "distance"),
    [(0, False, 1), (3, False, 1), (11, False, 5), (330, False, 100), (6400, False, 2000), (14 << 30, True, 5 << 30)],
)
def test_grid_lines_are_round(highest: int, binary: bool, distance: int) -> None:
    assert chart.tick(highest, binary) == distance


def drawn(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own


def test_days_of_which_nothing_is_known_are_gaps() -> None:
    made = drawn(chart.area(DAYS, chart.Series("<x>", "bytes", [1, 2, None, 0, None]), str))
    assert made.get("aria-label") == "<x>"
    lines = [element.get("points", "").split() for element in made.iter("polyline")]
    assert [len(points) for points in lines] == [2, 1]
    assert len(list(made.iter("title"))) == 3


def test_the_highest_bar_is_inside() -> None:
    made = drawn(chart.bars(DAYS, "x", [chart.Series("a", "sent", [0, 5, None, 9, 8])], str))
    tops = [float(element.get("y", "")) for element in made.iter("rect") if "bar" in element.get("class", "")]
    assert len(tops) == 3
    assert min(tops) >= 0


@pytest.mark.parametrize("language", page.LANGUAGES)
def test_a_page_needs_nothing_else_and_escapes_names(language: str) -> None:
    report = figures.report(usage(row(1, "acme"), acme=120), {"acme": '<script>alert("株")</script>'})
    html = page.html(report, language, TITLE)
    assert "&lt;script&gt;alert(&#34;株&#34;)&lt;/script&gt;" in html
    assert "さくら &amp; Co. &lt;mail&gt;" in html
    assert not re.search(r"<script|(src|href)=|url\(|@import|https?:", html)
    assert f'lang="{language}"' in html


def test_every_language_has_every_text() -> None:
    keys = [yaml.safe_load((DEFAULTS / f"{language}.yml").read_text()).keys() for language in page.LANGUAGES]
    assert keys[0] == keys[1]


def test_a_page_of_nothing() -> None:
    assert "Nothing was collected" in page.html(figures.report(usage(), {}), "en", TITLE)


def test_the_csv_and_the_json() -> None:
    found = usage(row(1, "acme", bytes=None), row(2, "acme"), acme=None)
    report = figures.report(found, {"acme": "=株式会社"})
    text = page.as_csv(report)
    assert text.startswith("\ufeff")
    first, second = csv.DictReader(io.StringIO(text[1:]))
    assert (first["day"], first["name"], first["bytes"], second["bytes"]) == ("2026-11-01", "'=株式会社", "", "100")
    document = json.loads(page.as_json(report, found))
    assert document["tenants"][0]["name"] == "=株式会社"
    assert document["days"] == found["days"]


def test_viruses_are_shown_where_any_were_found() -> None:
    assert "Viruses" not in page.html(figures.report(usage(row(1, "acme")), {}), "en", TITLE)
    found = usage(row(1, "acme", virus_found=1234, virus_stripped=1203), row(2, "acme", virus_found=1), row(1, "bolt"))
    report = figures.report(found, {})
    assert report.total.sums["virus_found"] == 1235
    html = page.html(report, "en", TITLE)
    assert re.findall(r'<th colspan="4" [^>]*>Viruses</th>', html)
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", html.partition("<tbody>")[2])
    first, last = cells[: len(cells) // 3], cells[-len(cells) // 3 :]
    assert [first[-4:], last[-4:]] == [["1,235", "1,203", "0", "0"]] * 2
