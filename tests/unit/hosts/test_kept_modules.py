# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive that Ansible built is kept for as long as all that may be in it stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.tests.callback import kept_modules

UTIL, MODULE = "plugins/module_utils/_directory/store.py", "plugins/modules/mail_info.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in (UTIL, MODULE):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("pass\n")
    return tmp_path


@pytest.mark.parametrize("name", [UTIL, MODULE])
def test_a_changed_source_has_another_folder(checkout: Path, name: str) -> None:
    before = kept_modules.folder(checkout)
    assert kept_modules.folder(checkout) == before
    (checkout / name).write_text("pass\n\n")
    assert kept_modules.folder(checkout) != before


def test_a_renamed_source_has_another_folder(checkout: Path) -> None:
    before = kept_modules.folder(checkout)
    (checkout / MODULE).rename((checkout / MODULE).with_name("mail_news.py"))
    assert kept_modules.folder(checkout) != before


def test_another_ansible_has_another_folder(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept_modules.folder(checkout)
    monkeypatch.setattr("ansible.__version__", "2.99.0")
    assert kept_modules.folder(checkout) != before
