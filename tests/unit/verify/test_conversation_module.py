# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module that holds a conversation: its sender and recipient."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Conversation, Step
from ansible_collections.mailhosting.stack.plugins.modules import mail_conversation

Call = Callable[[str], dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """`call(address)`: the result of an account's conversation with itself; its one step names the account."""
    named = lambda self: [Step("sender", True, self.sender.address, 0.0)]  # noqa: E731
    monkeypatch.setattr(Conversation, "steps", named)

    def run(address: str) -> dict[str, Any]:
        account = {"address": address, "password": "in no address"}
        with (
            patch_module_args({"address": "192.0.2.1", "sender": account, "recipient": account}),
            pytest.raises(SystemExit),
        ):
            mail_conversation.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


def test_an_account_may_be_written_as_people_write_it(call: Call) -> None:
    assert call("Check@日本語.example")["steps"][0]["answer"] == "check@xn--wgv71a119e.example"


def test_what_is_no_address_is_said(call: Call) -> None:
    assert call("check")["msg"].startswith('sender: "check" is not an address')
