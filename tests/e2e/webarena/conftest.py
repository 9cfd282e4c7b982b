# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every test begins with unused limits."""

from __future__ import annotations

import pytest
import testinfra

from .wire import forget


@pytest.fixture(autouse=True)
def as_new(host: testinfra.host.Host) -> None:
    """Reset all limits and pauses."""
    forget(host, "rate", "pause")
