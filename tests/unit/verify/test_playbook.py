# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every unit of ours that starts with the host is declared, so the playbook verify checks it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ENABLED = sorted(
    path.relative_to(ROOT / "roles")
    for path in ROOT.glob("roles/*/templates/systemd/*.j2")
    if "[Install]" in path.read_text()
)


def test_there_are_units() -> None:
    assert "mailhosting-remove-mailboxes.timer.j2" in [path.name for path in ENABLED]


@pytest.mark.parametrize("template", ENABLED, ids=lambda path: path.stem)
def test_verify_looks_at(template: Path) -> None:
    role, unit = template.parts[0], template.stem
    variables = yaml.safe_load((ROOT / "roles" / role / "vars/main.yml").read_text())
    units = variables[f"__{role}_brings"]["units"]
    name, at, suffix = unit.partition("@")
    if at:
        assert any(declared.startswith(f"{name}@") and declared.endswith(suffix) for declared in units)
    else:
        # Or in a template, where it depends on a variable.
        assert unit in units


def test_verify_asks_for_what_is_declared() -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks" / "verify.yml").read_text())
    (health,) = (
        task["mailhosting.stack.mail_health"] for task in play["tasks"] if "mailhosting.stack.mail_health" in task
    )
    for option, kind in (("units", "'units'"), ("ports", "'ports', 'loopback_ports'"), ("paths", "'state'")):
        assert f"query('mailhosting.stack.brings', {kind}, without=absent)" in health[option]
