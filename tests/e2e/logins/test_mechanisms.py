# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mechanisms of a host on which no plan has legacy_auth."""

from __future__ import annotations

import contextlib
import poplib

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server


@pytest.mark.parametrize("protocol", ["pop3", "pop3s"])
def test_no_apop_and_no_cram_md5_by_pop3(server: Server, protocol: str) -> None:
    with contextlib.closing(protocols.pop3(server, protocol)) as maildrop:
        assert b"<" not in maildrop.getwelcome()
        mechanisms = maildrop.capa()["SASL"]
        assert sorted(mechanisms) == ["LOGIN", "PLAIN"]
    with contextlib.closing(poplib.POP3(server.address, timeout=30)) as clear:
        assert b"<" not in clear.getwelcome()


@pytest.mark.parametrize("protocol", ["imap", "imaps"])
def test_no_cram_md5_by_imap(server: Server, protocol: str) -> None:
    with protocols.imap(server, protocol) as mailbox:
        offered = {name for name in mailbox.capabilities if name.startswith("AUTH=")}
        assert offered == {"AUTH=PLAIN", "AUTH=LOGIN"}


@pytest.mark.parametrize("protocol", ["submission", "submissions"])
def test_no_cram_md5_by_smtp(server: Server, protocol: str) -> None:
    with protocols.smtp(server, protocol) as session:
        session.ehlo()
        assert sorted(session.esmtp_features["auth"].split()) == ["LOGIN", "PLAIN"]
        # Without a challenge (334).
        assert session.docmd("AUTH", "CRAM-MD5")[0] == 535
