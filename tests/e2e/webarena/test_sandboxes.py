# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forbidden acts of the gate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import testinfra

from .. import sandbox
from ..sandboxes import SANDBOXES, forbidden


@pytest.mark.parametrize(("unit", "act"), forbidden("mailhosting-gate@in.service"))
def test_a_sandbox_forbids_it(tried: Callable[[str], sandbox.Tried], unit: str, act: str) -> None:
    sandbox.refused(SANDBOXES[unit], tried(unit), act)


@pytest.mark.parametrize("unit", ["mailhosting-gate@in", "mailhosting-gate@out"])
def test_a_sandbox_is_strict(host: testinfra.host.Host, unit: str) -> None:
    sandbox.is_strict(host, unit)
