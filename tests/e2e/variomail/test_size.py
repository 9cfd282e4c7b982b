# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The largest message of the VarioMail service."""

from __future__ import annotations

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, size_limit


@pytest.mark.requirement("VM-15")
def test_a_message_may_have_10_megabytes(server: Server) -> None:
    size_limit(server, User("saburo@variosecure-net.example", "Vario-Saburo-1"), 10 << 20)
