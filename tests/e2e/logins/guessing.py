# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guesses of passwords, and fail2ban's reaction to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import LoginRefusedError, User, log_in


def limit(host: Any, jail: str) -> int:
    return int(host.check_output(f"fail2ban-client get {jail} maxretry"))


def banned(host: Any, jail: str) -> list[str]:
    """The entries of the jail, as fail2ban names them."""
    jails = json.loads(host.check_output("fail2ban-client banned").replace("'", '"'))
    return next(found[jail] for found in jails if jail in found)


def guess(
    server: Server, protocol: str, logins: Sequence[str], way: Callable[[Server, str, User], None] = log_in
) -> None:
    """Try each login with another wrong password, all at once: each takes two seconds.

    `way` logs in by a protocol; it raises LoginRefusedError if the server rejects the login.
    """

    def wrong(number: int) -> None:
        # Only a wrong password is a guess, and not for example a busy server.
        with pytest.raises(LoginRefusedError, match=r"535 |(?i:authentication failed)"):
            way(server, protocol, User(logins[number], f"wrong {number}"))

    with ThreadPoolExecutor(len(logins)) as pool:
        list(pool.map(wrong, range(len(logins))))
