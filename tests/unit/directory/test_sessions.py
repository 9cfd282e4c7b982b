# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose open sessions end after a change."""

from __future__ import annotations

from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Store

from .build import account, desired, tenant
from .conftest import Declare
from .test_views import hold


def test_only_who_may_log_in_keeps_a_session(declare: Declare, store: Store) -> None:
    ken = account("ken@acme.example", state="no_login")
    declare(desired(tenant("acme", "taro@acme.example", "jiro@acme.example", ken)))
    hold(store, "login", "jiro@acme.example")
    users = ["taro@acme.example", "jiro@acme.example", "ken@acme.example", "gone@acme.example", "x"]
    assert sorted(store.without_login(users)) == ["gone@acme.example", "jiro@acme.example", "ken@acme.example", "x"]
