# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder: who can read it, the effect of a second run, and the end of outdated sheets."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.plugin_utils._settings_sheet import folder, page, pdf

from .build import PASSWORD, sheet

PAGES = page.Pages(None, "Provider", [])


@pytest.fixture(autouse=True)
def quick_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake PDF that can be compared; test_pdf has real ones."""
    monkeypatch.setattr(pdf, "make", lambda html: f"%PDF {pdf.identifier(html)}".encode())


class Sheets:
    """Taro's sheets in a folder that does not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def plan(
        self,
        languages: Collection[str] = ("en",),
        formats: Collection[str] = folder.FORMATS,
        with_password: bool = False,
    ) -> folder.Plan:
        wanted = folder.Wanted("acme", sheet(with_password=with_password), languages)
        return folder.compare(str(self.root), [wanted], PAGES, formats)

    def run(self, *arguments: Any, **options: Any) -> list[str]:
        """The names of the files that exist afterwards."""
        folder.check(str(self.root))
        folder.apply(str(self.root), self.plan(*arguments, **options).changes)
        return sorted(path.name for path in (self.root / "acme").iterdir())


@pytest.fixture
def sheets(tmp_path: Path) -> Sheets:
    return Sheets(tmp_path / "new" / "sheets")


def test_folders_and_files_are_their_users_alone(sheets: Sheets) -> None:
    before = os.umask(0)
    try:
        sheets.run(("en", "ja"))
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in sheets.root.rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in (sheets.root, sheets.root / "acme")}
    assert (modes, folders) == ({0o600}, {0o700})
    assert (sheets.root / ".gitignore").read_text() == "*\n"


def test_second_run_has_nothing_to_do(sheets: Sheets) -> None:
    assert sheets.run() == ["taro@acme.example.en.html", "taro@acme.example.en.pdf"]
    plan = sheets.plan()
    assert (plan.changes, plan.unchanged) == ([], 1)


def test_looser_mode_is_mended(sheets: Sheets) -> None:
    sheets.run()
    loose = sheets.root / "acme" / "taro@acme.example.en.pdf"
    loose.chmod(0o644)
    assert [change.path for change in sheets.plan().changes] == ["acme/taro@acme.example.en.pdf"]
    sheets.run(("en",), ("html",))
    assert loose.stat().st_mode & 0o777 == 0o600


def test_what_was_not_asked_for_stays_while_it_is_right(sheets: Sheets) -> None:
    everything = sheets.run(("en", "ja"))
    assert len(everything) == 4
    assert sheets.run(("en",), ("html",)) == everything


def test_what_was_not_asked_for_goes_once_it_is_outdated(sheets: Sheets) -> None:
    sheets.run(("en", "ja"), with_password=True)
    assert sheets.run(("ja",), ("html",)) == ["taro@acme.example.ja.html"]
    assert PASSWORD not in (sheets.root / "acme" / "taro@acme.example.ja.html").read_text()


def test_others_files_are_left_alone(sheets: Sheets) -> None:
    sheets.run()
    other = sheets.root / "acme" / "jiro@acme.example.en.html"
    other.write_text("an older account's")
    assert other.name in sheets.run(("ja",), with_password=True)


def test_sheets_of_who_is_gone_are_left_over(sheets: Sheets) -> None:
    sheets.run()
    for name in ("jiro@acme.example.en.html", "jiro@acme.example.zh-Hant.pdf", "notes.html", "a@b.txt"):
        (sheets.root / "acme" / name).write_text("")
    found = folder.left_over(str(sheets.root), ["acme", "bolt"], {"taro@acme.example"})
    assert [(change.path, change.html) for change in found] == [
        ("acme/jiro@acme.example.en.html", None), ("acme/jiro@acme.example.zh-Hant.pdf", None),
    ]  # fmt: skip


def test_link_is_replaced_and_not_followed(sheets: Sheets, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (sheets.root / "acme").mkdir(parents=True)
    sheets.root.chmod(0o700)
    link = sheets.root / "acme" / "taro@acme.example.en.html"
    link.symlink_to(target)
    sheets.run()
    assert not link.is_symlink()
    assert target.read_text() == "precious"


def test_differences_mask_old_and_new_passwords(sheets: Sheets) -> None:
    sheets.run(with_password=True)
    for changes in (
        sheets.plan().changes,
        [folder.Change("x.html", PAGES.html(sheet(with_password=True), "en"), None)],
    ):
        shown = list(folder.differences(str(sheets.root), changes))
        assert len(shown) == 1
        assert PASSWORD not in str(shown)
        assert "********" in shown[0]["before"]


def test_failure_of_one_leaves_no_half_a_file(sheets: Sheets, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_html: str) -> bytes:
        raise pdf.PdfError("weasyprint: broken")

    monkeypatch.setattr(pdf, "make", fail)
    with pytest.raises(pdf.PdfError):
        sheets.run()
    assert [path.name for path in (sheets.root / "acme").iterdir()] == ["taro@acme.example.en.html"]


def test_folder_open_to_others_is_not_touched(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    with pytest.raises(folder.FolderError, match=r"open to others \(mode 0755\).* chmod 0700"):
        folder.check(str(shared))
    assert shared.stat().st_mode & 0o777 == 0o755


def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(folder.FolderError, match="is not a folder"):
        folder.check(str(tmp_path / "file"))
