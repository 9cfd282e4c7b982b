# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PDFs by the real program: one page, the right letters, and the same file at each run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.plugins.plugin_utils._settings_sheet import page, pdf

from .build import ALL, PASSWORD, sheet, tenant

SUPPORT = ["support@provider.example", "https://support.provider.example/", "03-0000-0000（平日 9:00–17:30）"]


def html(language: str) -> str:
    """The longest possible sheet."""
    owner = tenant("pop3.acme.example", "smtp.acme.example")
    pages = page.Pages(None, "メール株式会社", SUPPORT)
    return pages.html(sheet(owner, with_password=True, **ALL), language)


def printed(made: bytes, tmp_path: Path, *command: str) -> str:
    (tmp_path / "sheet.pdf").write_bytes(made)
    arguments = [argument.format(tmp_path / "sheet.pdf") for argument in command]
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(("language", "word"), [("en", "Initial password"), ("ja", "初期パスワード")])
def test_one_page_with_everything_on_it(language: str, word: str, tmp_path: Path) -> None:
    made = pdf.make(html(language))
    assert re.search(r"Pages: +1\n", printed(made, tmp_path, "pdfinfo", "{}"))
    text = printed(made, tmp_path, "pdftotext", "-layout", "{}", "-")
    for expected in (word, PASSWORD, "taro@acme.example", "pop3.acme.example", "メール株式会社", "03-0000-0000"):
        assert expected in text


def test_same_page_makes_the_same_file() -> None:
    made = pdf.make(html("en"))
    assert pdf.make(html("en")) == made
    assert pdf.is_made_of(made, html("en"))
    assert not pdf.is_made_of(made, html("ja"))


def program(path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(pdf, "program", lambda: str(path))


@pytest.mark.parametrize(
    ("script", "said"),
    [("echo no such option >&2; exit 2", "no such option"), ("exit 3", "exit code 3"), ("echo something else", "exit")],
)
def test_program_that_fails_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str) -> None:
    program(tmp_path / "weasyprint", script, monkeypatch)
    with pytest.raises(pdf.PdfError, match=said):
        pdf.make("<p>")


def test_password_is_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "weasyprint", f'echo "$@" >{tmp_path}/arguments; echo "$4"', monkeypatch)
    pdf.make(html("en"))
    assert PASSWORD not in (tmp_path / "arguments").read_text()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "_has_font", lambda language: language != "ja")
    monkeypatch.setattr(pdf, "program", lambda: "weasyprint")
    assert pdf.obstacle(("en",)) is None
    assert "fonts-noto-cjk" in (pdf.obstacle(("en", "ja")) or "")
    monkeypatch.setattr(pdf, "program", lambda: None)
    assert "weasyprint is not installed" in (pdf.obstacle(("en",)) or "")
