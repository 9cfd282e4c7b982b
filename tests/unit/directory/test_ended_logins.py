# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything a login opened ends with its right: by a state, a hold, another password, or a new holder of the name."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import gate
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Account, Alias, Desired
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Store

from .build import PLANS, account, alias, desired, tenant
from .conftest import Declare, See
from .test_views import hold

TARO = "taro@acme.example"
OPENED = "SELECT username, login_since FROM v1.relay_logins(%s, %s)"
RELAYS = {name: {**plan, "pop_before_smtp": 1800} for name, plan in PLANS.items()}


def acme(*addresses: Account | Alias | str, state: str = "active") -> Desired:
    return desired(tenant("acme", *addresses, state=state), plans=RELAYS)


def opened(see: See, address: str = TARO, user: str = "mailhosting-policy") -> dict[str, float]:
    """The logins that may relay as `address`, each with the time before which logins do not count."""
    return dict(see(user, OPENED, *address.split("@")))


def rights(see: See, address: str = TARO) -> tuple[bool, bool, float]:
    """The gate's view of a login: may send, may log in, and since when logins count."""
    query = "SELECT may_send, may_login, login_since FROM v1.gate_owner(%s, %s)"
    (row,) = see(gate.USER, query, *address.split("@"))
    return row


@pytest.mark.parametrize("user", ["mailhosting-policy", gate.USER])
def test_a_login_opens_relaying_while_it_may_log_in(declare: Declare, store: Store, see: See, user: str) -> None:
    declare(acme(TARO, alias("sales@acme.example", TARO)))
    for address in (TARO, "sales@acme.example"):
        assert [*opened(see, address, user)] == [TARO]
    hold(store, "login", TARO)
    for address in (TARO, "sales@acme.example"):
        assert opened(see, address, user) == {}
    assert rights(see)[:2] == (True, False)


@pytest.mark.parametrize("state", ["no_login", "suspended"])
@pytest.mark.parametrize("whose", ["account", "tenant"])
def test_a_state_ends_it(declare: Declare, see: See, whose: str, state: str) -> None:
    declare(acme(TARO))
    assert rights(see)[:2] == (True, True)
    taro = account(TARO, state=state if whose == "account" else "active")
    declare(acme(taro, state=state if whose == "tenant" else "active"))
    assert opened(see) == {}
    assert rights(see)[:2] == (state == "no_login", False)


CHANGES: dict[str, Callable[[Declare], object]] = {
    "another password": lambda declare: declare(acme(account(TARO, password_hash="{PLAIN}another"))),
    "closed, and a new one": lambda declare: [
        declare(acme(), purge=True),
        declare(acme(account(TARO, restore=False))),
    ],
    "renamed, and a new one": lambda declare: [
        declare(acme(account("ken@acme.example", renamed_from="taro"))),
        declare(acme("ken@acme.example", TARO)),
    ],
    "renamed, and another renamed to it": lambda declare: [
        declare(acme(account("ken@acme.example", renamed_from="taro"), "jiro@acme.example")),
        declare(acme("ken@acme.example", account(TARO, renamed_from="jiro"))),
    ],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_logins_before_count_no_more(declare: Declare, see: See, change: Callable[[Declare], object]) -> None:
    declare(acme(account(TARO, password_hash="{PLAIN}first")))
    before = opened(see)[TARO]
    login = time.time()
    assert before <= login
    change(declare)
    assert login < opened(see)[TARO] <= time.time()
    assert rights(see)[2] == opened(see)[TARO]


def may_get_in(see: See, since: str) -> bool:
    """Dovecot's last question, with the login_since that it read with the password."""
    query = "SELECT FROM v1.mailbox(%s, %s, NULL, %s)"
    return bool(see("dovecot", query, *TARO.split("@"), since))


def password_read(see: See) -> str:
    """The login_since that Dovecot gets with the password and hands on."""
    ((since,),) = see("dovecot", "SELECT login_since::text FROM v1.login(%s, %s)", *TARO.split("@"))
    return str(since)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_password_that_was_read_before_opens_nothing(
    declare: Declare, see: See, change: Callable[[Declare], object]
) -> None:
    declare(acme(account(TARO, password_hash="{PLAIN}first")))
    since = password_read(see)
    assert may_get_in(see, since)
    change(declare)
    assert not may_get_in(see, since)
    assert may_get_in(see, password_read(see))


def test_nor_does_a_login_that_was_held_meanwhile(declare: Declare, store: Store, see: See) -> None:
    declare(acme(TARO))
    since = password_read(see)
    hold(store, "login", TARO)
    assert not may_get_in(see, since)


def test_mail_arrives_whatever_ended_logins(declare: Declare, store: Store, see: See) -> None:
    """A delivery has no login_since: Dovecot read no password."""
    declare(acme(TARO))
    hold(store, "login", TARO)
    assert may_get_in(see, "")


def test_nothing_else_ends_a_login(declare: Declare, see: See) -> None:
    declare(acme(account(TARO, password_hash="{PLAIN}first")))
    since = opened(see)
    declare(acme(account(TARO, password_hash="{PLAIN}first", quota=1000), "jiro@acme.example"))
    assert opened(see) == since


def test_who_may_not_send_is_let_pass_by_postfix_to_be_told_so(declare: Declare, store: Store, see: See) -> None:
    declare(acme(TARO, alias("sales@acme.example", TARO), "jiro@acme.example"))
    asked = "SELECT username FROM v1.sender_logins(%s, 'acme.example')"
    hold(store, "send", TARO)
    for name in ("taro", "sales"):
        assert see("postfix", asked, name) == [(TARO,)]
    assert see("postfix", asked, "nobody") == []
    assert rights(see)[:2] == (False, True)
    assert opened(see) == {}


def test_whose_open_sessions_end(declare: Declare) -> None:
    """Sessions of a name that another account has now, and of an account with another password."""
    first = account(TARO, password_hash="{PLAIN}first")
    declare(acme(first, "jiro@acme.example", "ken@acme.example"))
    second = account(TARO, password_hash="{PLAIN}second")
    renamed = account("kenji@acme.example", renamed_from="ken")
    changes = declare(acme(second, account("jiro@acme.example", quota=1000), renamed))
    assert changes.logins_anew == {TARO, "kenji@acme.example"}
    assert changes.may_end_sessions
