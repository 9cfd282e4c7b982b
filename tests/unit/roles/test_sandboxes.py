# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs' units share one sandbox, and every exception belongs to a unit that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.plugins.plugin_utils._programs import SANDBOXES

ROLES = Path(__file__).parents[3] / "roles"
EXPECTED = Path(__file__).parents[2] / "e2e" / "sandboxes.py"
UNITS = {file.name.removesuffix(".j2"): file for file in ROLES.glob("*/templates/systemd/mailhosting-*.service.j2")}
SHARED = SANDBOXES / "mailhosting-.service.d" / "10-sandbox.conf.j2"
#: Units with a whole sandbox of their own instead of SHARED.
APART = {file.parent.name.removesuffix(".d") for file in SANDBOXES.glob("*/10-sandbox.conf.j2") if file != SHARED}


def settings(file: Path) -> set[str]:
    """The lines with settings."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return {line for line in lines if "=" in line and not line.startswith("#")}


def test_there_are_units() -> None:
    assert {"mailhosting-gate@.service", "mailhosting-usage.service", "mailhosting-retention@.service"} <= set(UNITS)
    assert {"ProtectSystem=strict", "PrivateNetwork=yes", "CapabilityBoundingSet="} <= settings(SHARED)


@pytest.mark.parametrize("unit", sorted(set(UNITS) - APART))
def test_no_unit_says_again_what_all_have(unit: str) -> None:
    own = SANDBOXES / f"{unit}.d" / "50-sandbox.conf.j2"
    said = settings(UNITS[unit]) | (settings(own) if own.is_file() else set())
    # An empty value resets a list.
    assert not {line for line in said & settings(SHARED) if not line.endswith("=")}


def test_what_is_excepted_is_of_a_unit_and_read_last() -> None:
    assert {"mailhosting-acme.service", "mailhosting-acme-order.service"} == APART
    for file in set(SANDBOXES.rglob("*.j2")) - {SHARED}:
        assert file.parent.name.removesuffix(".d") in UNITS
        assert file.name > SHARED.name or not settings(file)


def test_every_unit_is_tried_on_a_host() -> None:
    tried = re.findall(r'^    "(mailhosting-[\w-]+@?)\w*[.]service": Sandbox\($', EXPECTED.read_text(), re.MULTILINE)
    assert {unit.removesuffix(".service") for unit in UNITS} == set(tried)


def test_a_scanner_has_what_programs_have_though_its_units_have_debians_names() -> None:
    templates = ROLES / "clamav" / "templates"
    shared = {line for line in settings(SHARED) if not line.startswith("InaccessiblePaths=")}
    network = {"PrivateNetwork=yes", "IPAddressDeny=any", "RestrictAddressFamilies=AF_UNIX"}
    assert shared - network <= settings(templates / "parts" / "sandbox.j2")
    for unit, own in (("clamav-daemon", network), ("clamav-freshclam", set())):
        text = (templates / "systemd" / f"{unit}.service.j2").read_text()
        assert "{% include 'parts/sandbox.j2' %}\n\n[Install]" in text
        assert own <= set(text.splitlines())
