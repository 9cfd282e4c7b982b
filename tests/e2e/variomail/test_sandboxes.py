# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forbidden acts of the sender of notices, and of the virus scanner."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import testinfra

from .. import sandbox
from ..sandboxes import SANDBOXES, forbidden

SCANNING = ("clamav-daemon.service", "clamav-freshclam.service")


@pytest.mark.parametrize(("unit", "act"), forbidden("mailhosting-notices.service", *SCANNING))
def test_a_sandbox_forbids_it(tried: Callable[[str], sandbox.Tried], unit: str, act: str) -> None:
    sandbox.refused(SANDBOXES[unit], tried(unit), act)


@pytest.mark.parametrize("unit", ["mailhosting-notices", "clamav-daemon"])
def test_a_sandbox_is_strict(host: testinfra.host.Host, unit: str) -> None:
    sandbox.is_strict(host, unit)


def test_only_what_fetches_signatures_is_less_strict(host: testinfra.host.Host) -> None:
    sandbox.is_strict(host, "clamav-freshclam", most=2.5)


@pytest.mark.parametrize("unit", SCANNING)
def test_a_unit_has_the_sandbox_of_programs_and_what_is_excepted(host: testinfra.host.Host, unit: str) -> None:
    assert sandbox.shown(host, unit) == sandbox.expected(SANDBOXES[unit])
