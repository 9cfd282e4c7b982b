# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replaced file is the old one or the new one, never a part."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._files import replace_file

from .failing import failing_at


def test_a_replaced_file_is_whole_and_what_a_killed_run_left_is_no_hindrance(tmp_path: Path) -> None:
    file, left = tmp_path / "keys", tmp_path / ".keys.new"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("as it was")
    left.symlink_to(elsewhere)
    replace_file(str(file), b"new", 0o600)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    assert (elsewhere.read_text(), left.is_symlink()) == ("as it was", False)


def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("old")
    for nth in range(1, 4):
        with pytest.raises(OSError, match="No space left"), failing_at(monkeypatch, nth, ["open", "fsync", "replace"]):
            replace_file(str(file), b"new", 0o600)
        assert file.read_text() == "old"
