# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds of scope `forward` and `filter`: mail stays in the mailbox that it was sent to."""

from __future__ import annotations

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import gate
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Store

from .build import account, alias, desired, forward, tenant
from .conftest import Declare, See
from .test_views import hold

TARO, OUTSIDE = "taro@acme.example", "stranger@outside.example"
#: An account, or a tenant.
Whose = tuple[str | None, ...]
WHOSE: tuple[Whose, ...] = ((TARO,), (None, "acme"))


def queued_as(see: See, address: str = TARO) -> list[str]:
    """The recipients that Postfix queues for an address, without the marks of mailboxes."""
    found = see("postfix", "SELECT address FROM v1.queued_as(%s, %s)", *address.split("@"))
    return sorted(name.removesuffix(".mailbox.invalid") for (name,) in found)


def destinations(see: See, address: str = TARO) -> list[tuple[str | None, str | None]]:
    """The mailbox or the external address of each destination, as the gate sees them."""
    query = "SELECT username, target FROM v1.gate_destinations(%s, %s, 100)"
    return sorted(see(gate.USER, query, *address.split("@")), key=str)


def runs_filters(see: See, address: str = TARO) -> bool:
    ((held,),) = see("dovecot", "SELECT filters_held FROM v1.mailbox(%s, %s)", *address.split("@"))
    return not held


@pytest.mark.parametrize("of", WHOSE)
@pytest.mark.parametrize("keep", [True, False])
def test_nothing_is_forwarded_while_that_is_held(
    declare: Declare, store: Store, see: See, keep: bool, of: Whose
) -> None:
    taro = account(TARO, forward=forward(OUTSIDE, keep=keep))
    declare(desired(tenant("acme", taro, alias("sales@acme.example", TARO))))
    assert OUTSIDE in queued_as(see)
    assert (None, OUTSIDE) in destinations(see)
    assert ((TARO, None) in destinations(see)) is keep
    hold(store, "forward", *of)
    mailbox = queued_as(see)
    assert len(mailbox) == 1
    assert mailbox[0].startswith(TARO)
    assert destinations(see) == destinations(see, "sales@acme.example") == [(TARO, None)]
    assert runs_filters(see)


def test_forwarding_goes_on_when_the_hold_has_ended(declare: Declare, store: Store, see: See) -> None:
    declare(desired(tenant("acme", account(TARO, forward=forward(OUTSIDE, keep=False)))))
    hold(store, "forward", TARO, until=0)
    assert queued_as(see) == [OUTSIDE]


@pytest.mark.parametrize("of", WHOSE)
def test_no_filter_runs_while_that_is_held(declare: Declare, store: Store, see: See, of: Whose) -> None:
    declare(desired(tenant("acme", account(TARO, forward=forward(OUTSIDE, keep=True)), "jiro@acme.example")))
    assert runs_filters(see)
    hold(store, "filter", *of)
    assert not runs_filters(see)
    assert runs_filters(see, "jiro@acme.example") is (of != WHOSE[1])
    assert OUTSIDE in queued_as(see)
