# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the controller's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from .tree import Tree


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A sound inventory below the working directory."""
    monkeypatch.chdir(tmp_path)
    return Tree(tmp_path)
