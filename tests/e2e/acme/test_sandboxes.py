# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forbidden acts of the units that order certificates and that install them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .. import sandbox
from ..sandboxes import SANDBOXES, forbidden


@pytest.mark.parametrize(("unit", "act"), forbidden("mailhosting-acme-order.service", "mailhosting-acme.service"))
def test_a_sandbox_forbids_it(tried: Callable[[str], sandbox.Tried], unit: str, act: str) -> None:
    sandbox.refused(SANDBOXES[unit], tried(unit), act)
