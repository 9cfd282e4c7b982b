# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook verify checks every unit of ours that starts with the host."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ENABLED = sorted(
    path.name.removesuffix(".j2")
    for path in ROOT.glob("roles/*/templates/systemd/*.j2")
    if "[Install]" in path.read_text()
)
(PLAY,) = yaml.safe_load((ROOT / "playbooks" / "verify.yml").read_text())
(LOOKED_AT,) = (task["vars"] for task in PLAY["tasks"] if "mailhosting.stack.mail_health" in task)


def test_there_are_units() -> None:
    assert "mailhosting-remove-mailboxes.timer" in ENABLED


@pytest.mark.parametrize("unit", ENABLED)
def test_verify_looks_at(unit: str) -> None:
    name = unit.removesuffix(".service").partition("@")[0]
    named = [*LOOKED_AT["everywhere"], *LOOKED_AT["policy"]]
    assert any(item == name or item.startswith(f"{name}@") for item in named) or unit in LOOKED_AT["where_used"]
