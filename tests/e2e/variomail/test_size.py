# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The largest message of the VarioMail service."""

from __future__ import annotations

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, octets, size_limit, until
from ..webarena.wire import STRANGER, TOO_LARGE, answer, empty, in_maildrop, session_of

MOST = 10 << 20
SABURO = User("saburo@variosecure-net.example", "Vario-Saburo-1")


@pytest.mark.requirement("VM-15")
def test_a_message_may_have_10_megabytes(server: Server) -> None:
    size_limit(server, SABURO, MOST)


@pytest.mark.requirement("VM-15")
@pytest.mark.parametrize("sender", [STRANGER, SABURO], ids=["received", "sent"])
def test_what_comes_by_the_wire_counts_not_what_was_said(server: Server, sender: str | User) -> None:
    envelope = sender if isinstance(sender, str) else sender.address
    with session_of(server, sender) as session:
        assert answer(session, envelope, SABURO.address, content=octets(MOST + 1)) == TOO_LARGE
        assert answer(session, envelope, SABURO.address, content=octets(MOST + 1), declared=100) == TOO_LARGE
        assert answer(session, envelope, SABURO.address, content=octets(MOST))[0] == 250
    assert until(lambda: in_maildrop(server, SABURO) == 1)
    empty(server, SABURO)
