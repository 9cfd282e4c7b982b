# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages: valid HTML in every language, nothing unescaped, and an operator's own texts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mailhosting.stack.plugins.plugin_utils._settings_sheet import page

from .build import ALL, PASSWORD, Page, sheet

EVIL = "<script>alert('x')</script> & \"Co\""
LANGUAGES = ("en", "ja")


def pages(folder: Path | None = None, provider: str = "Provider", support: tuple[str, ...] = ()) -> page.Pages:
    return page.Pages(str(folder) if folder else None, provider, list(support))


def paths(texts: dict[str, Any], prefix: str = "") -> dict[str, set[str]]:
    """The fields of each text by its dotted key."""
    found: dict[str, set[str]] = {}
    for key, value in texts.items():
        found |= (
            paths(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {prefix + key: set(re.findall(r"{\w+}", value))}
        )
    return found


def test_languages_say_the_same() -> None:
    defaults = Path(page.__file__).parent / "defaults"
    english, japanese = (paths(yaml.safe_load((defaults / f"{name}.yml").read_text())) for name in LANGUAGES)
    assert english == japanese
    assert pages().languages == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("plan", [ALL, {}, {"protocols": ["pop3"]}, {"protocols": ["submission"]}], ids=str)
@pytest.mark.parametrize("with_password", [False, True])
def test_page_is_sound_and_self_contained(language: str, plan: dict[str, Any], with_password: bool) -> None:
    shown = sheet(with_password=with_password, **plan)
    html = pages(support=("support@provider.example",)).html(shown, language)
    read = Page(html)
    assert read.protocols == [service.protocol for service in (*shown.receiving, *shown.sending)]
    assert read.elements[0] == ("html", {"lang": language})
    assert not re.search(r"""https?:|src=|url\(|@import|<link""", html)
    assert "None" not in html
    assert (PASSWORD in html) is with_password


@pytest.mark.parametrize(("language", "text"), [("en", "you may choose {}."), ("ja", "{} も選択できます。")])
def test_a_plans_other_ways_to_log_in(language: str, text: str) -> None:
    plan: dict[str, Any] = {"protocols": ["pop3", "submission"]}
    html = {legacy: pages().html(sheet(**plan, legacy_auth=legacy), language) for legacy in (True, False)}
    assert text.format("APOP (POP3), CRAM-MD5 (SMTP)") in html[True]
    assert "APOP" not in html[False]
    assert "taro%acme.example" in html[False]


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_is_escaped(language: str) -> None:
    shown = replace(sheet(with_password=True, **ALL), password=EVIL, address=EVIL, login=EVIL)
    read = Page(pages(provider=EVIL, support=(EVIL,)).html(shown, language))
    assert "script" not in {tag for tag, _attributes in read.elements}
    assert sum(EVIL in text for text in read.texts) >= 6


def test_sizes_for_people() -> None:
    numbers = (1023, 1024, 1536, 20 << 20, (20 << 20) + 700_000, 3 << 29, 100 << 30)
    assert [page.size(number) for number in numbers] == [
        "1023 B", "1 KB", "1.5 KB", "20 MB", "20 MB", "1.5 GB", "100 GB",
    ]  # fmt: skip


@pytest.mark.parametrize("password", [PASSWORD, "a</span>b", "  <&>  "])
def test_masked_page_has_no_password(password: str) -> None:
    html = pages().html(replace(sheet(), password=password), "en")
    assert "********" in page.masked(html)
    assert page.masked(html) == page.masked(pages().html(replace(sheet(), password="another"), "en"))


def test_own_text_in_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "ja.yml").write_text("title: 設定書\nnotes: {case: no}\n")
    read = Page(pages(tmp_path).html(sheet(), "ja"))
    assert "設定書" in read.texts
    assert "no" in read.texts  # and not false
    assert "アカウント情報" in read.texts


def test_own_template(tmp_path: Path) -> None:
    (tmp_path / "sheet.html.j2").write_text("<p>{{ provider }}: {{ sheet.password }}</p>")
    html = pages(tmp_path, provider=EVIL).html(sheet(with_password=True), "en")
    assert "<script>" not in html
    assert PASSWORD not in page.masked(html)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("fr.yml", "title: Réglages", "fr.yml lacks account, address"),
        ("ja.yml", "title: [", "ja.yml: "),
        ("ja.yml", "title", "ja.yml: is not a mapping"),
        ("ja.yml", "largest_mail_value: '{sise}'", "ja.yml: KeyError: 'sise'"),
        ("sheet.html.j2", "{% if %}", "sheet.html.j2: "),
        ("sheet.html.j2", "{{ sheet.nickname }}", "sheet.html.j2 with ja.yml: UndefinedError: "),
    ],
)
def test_mistakes_name_the_file(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(page.PageError, match=re.escape(expected)):
        pages(tmp_path).html(sheet(), "ja")
