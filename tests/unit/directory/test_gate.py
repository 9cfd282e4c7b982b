# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate's questions: the owner of a mail, its destinations, the plan; and how it holds an account."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import gate
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Tenant

from .build import MEBIBYTE, PLANS, account, alias, desired, forward, tenant
from .conftest import Declare, See

OUTSIDE = "partner@elsewhere.example"


def ends(see: See, address: str, most: int = 20000) -> tuple[list[str], list[str]]:
    """The mailboxes and the external addresses that receive mail for `address`."""
    query = "SELECT username, target FROM v1.gate_destinations(%s, %s, %s) ORDER BY 1, 2"
    rows = see(gate.USER, query, *address.split("@"), most)
    return [username for username, _ in rows if username], [target for _, target in rows if target]


def plans(**settings: Any) -> dict[str, dict[str, Any]]:
    return {name: {**plan, **settings} for name, plan in PLANS.items()}


def test_a_mailbox_with_its_quota(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", "taro@acme.example", account("jiro@acme.example", quota=MEBIBYTE))))
    query = "SELECT * FROM v1.gate_destinations(%s, 'acme.example', 10)"
    assert see(gate.USER, query, "taro")[0][2:] == ("taro@acme.example", 20 * MEBIBYTE, None)
    assert see(gate.USER, query, "jiro")[0][2:] == ("jiro@acme.example", MEBIBYTE, None)
    assert see(gate.USER, query, "nobody") == []


def test_aliases_forwards_and_roles_are_followed_to_the_end(declare: Declare, see: See) -> None:
    acme = tenant(
        "acme",
        "taro@acme.example",
        account("keeps@acme.example", forward=forward(OUTSIDE)),
        account("passes@acme.example", forward=forward("taro@acme.example", keep=False)),
        account("off@acme.example", state="suspended"),
        alias("sales@acme.example", "keeps@acme.example", "passes+tag@acme.example", "off@acme.example"),
        alias("team@acme.example", "sales@acme.example", "sales@acme.example", "b@elsewhere.example"),
        contacts={"technical": "team@acme.example"},
    )
    acme.domains["acme.example"].catch_all = "taro@acme.example"
    declare(desired(acme))
    assert ends(see, "keeps@acme.example") == (["keeps@acme.example"], [OUTSIDE])
    assert ends(see, "passes@acme.example") == (["taro@acme.example"], [])
    assert ends(see, "team@acme.example") == (
        ["keeps@acme.example", "taro@acme.example"],
        ["b@elsewhere.example", OUTSIDE],
    )
    assert ends(see, "postmaster@acme.example") == ends(see, "team@acme.example")
    assert ends(see, "whoever@acme.example") == (["taro@acme.example"], [])
    assert ends(see, "off@acme.example") == ([], [])


def test_an_address_elsewhere_is_the_end_and_nobody_of_ours_sends_it_on(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", "taro@acme.example")))
    query = "SELECT * FROM v1.gate_destinations(%s, %s, 10)"
    for domain in ("elsewhere.example", "sub.acme.example"):
        assert see(gate.USER, query, "nobody", domain) == [(None, None, None, None, f"nobody@{domain}")]


def test_who_sends_it_on_to_the_outside(declare: Declare, see: See) -> None:
    acme = tenant(
        "acme", account("taro@acme.example", forward=forward("x@far.example")), alias("a@acme.example", OUTSIDE)
    )
    other = tenant("other", alias("b@other.example", "taro@acme.example", "a@acme.example"))
    declare(desired(acme, other))
    ids: dict[str, int] = dict(see("postgres", "SELECT name, id FROM directory.tenant"))
    (number,) = see("postgres", "SELECT id FROM directory.account")
    rows = see(gate.USER, "SELECT target, account_id, tenant_id FROM v1.gate_destinations('b', 'other.example', 10)")
    assert {row for row in rows if row[0]} == {("x@far.example", *number, ids["acme"]), (OUTSIDE, None, ids["acme"])}


def test_the_host_s_own_postmaster_is_nobody_s_forward(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", "taro@acme.example", alias("sales@acme.example", "taro@acme.example"))))
    assert ends(see, "postmaster@acme.example") == ([], [])


def test_a_former_name_of_a_domain_leads_to_where_mail_ends(declare: Declare, see: See) -> None:
    def acme(domain: str) -> Tenant:
        items = (account(f"taro@{domain}", forward=forward(OUTSIDE)), alias(f"sales@{domain}", f"taro@{domain}"))
        result = tenant("acme", *items, domains=[domain], contacts={"technical": f"taro@{domain}"})
        result.domains[domain].catch_all = f"sales@{domain}"
        result.domains[domain].renamed_from = "old.example" if domain != "old.example" else None
        return result

    declare(desired(acme("old.example"), tenant("other", alias("a@other.example", "taro@old.example"))))
    declare(desired(acme("new.example"), tenant("other", alias("a@other.example", "sales@old.example"))))
    for address in ("taro@old.example", "taro+tag@old.example", "sales@old.example", "whoever@old.example"):
        assert ends(see, address) == (["taro@new.example"], [OUTSIDE]), address
    assert ends(see, "postmaster@old.example") == ends(see, "a@other.example") == (["taro@new.example"], [OUTSIDE])


@pytest.mark.timing
def test_all_of_a_large_domain(declare: Declare, see: See) -> None:
    members = [f"u{number}@acme.example" for number in range(3000)]
    declare(desired(tenant("acme", *members), plans=plans(all_address="tenant")))
    began = time.monotonic()
    mailboxes, _ = ends(see, "all@acme.example")
    assert time.monotonic() - began < 3
    assert mailboxes == sorted(members)
    assert len(ends(see, "all@acme.example", most=100)[0]) == 100


@pytest.mark.parametrize("length", [48, 1000])
def test_a_chain_is_followed_as_far_as_postfix_does(declare: Declare, see: See, length: int) -> None:
    chain = [alias(f"a{number}@acme.example", f"a{number + 1}@acme.example") for number in range(length)]
    declare(desired(tenant("acme", f"a{length}@acme.example", *chain), plans=plans(max_forward_targets=None)))
    assert ends(see, "a0@acme.example") == ([f"a{length}@acme.example"], [])


def test_an_owner(declare: Declare, see: See) -> None:
    off = account("off@acme.example", state="suspended")
    declare(desired(tenant("acme", "taro@acme.example", off, alias("a@acme.example", OUTSIDE))))
    ask = "SELECT account_id IS NULL, tenant_id IS NULL, username, may_send FROM v1.gate_owner(%s, %s)"
    assert see(gate.USER, ask, "taro", "acme.example") == [(False, False, "taro@acme.example", True)]
    assert see(gate.USER, ask, "off", "acme.example") == [(False, False, "off@acme.example", False)]
    assert see(gate.USER, ask, "a", "acme.example") == [(True, False, None, False)]
    assert see(gate.USER, ask, "nobody", "acme.example") == [(True, False, None, False)]
    assert see(gate.USER, ask, "x", "elsewhere.example") == []


def ids(see: See) -> dict[str, int]:
    """Ids of accounts by address, of tenants by name."""
    accounts = see("postgres", "SELECT local_part || '@' || domain, account_id FROM directory.address")
    return dict([*accounts, *see("postgres", "SELECT name, id FROM directory.tenant")])


def test_who_is_stopped_stays_so_and_is_told_once(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", "taro@acme.example", "jiro@acme.example")))
    numbers = ids(see)
    for kind in ("bulk_mail", "invalid_recipients"):
        see(gate.USER, "SELECT v1.gate_stop(%s, %s, '{\"count\": 7}')", numbers["taro@acme.example"], kind)
    ask = "SELECT held FROM v1.gate_owner(%s, 'acme.example')"
    assert see(gate.USER, ask, "taro") == [("bulk_mail",)]
    assert see(gate.USER, ask, "jiro") == [(None,)]
    notices = see("postgres", "SELECT kind, tenant_id, account_id, facts FROM directory.notice")
    assert notices == [("bulk_mail", numbers["acme"], numbers["taro@acme.example"], {"count": 7})]
    # Postfix still accepts the sender: the gate decides.
    assert see("postfix", "SELECT count(*) FROM v1.sender WHERE local_part = 'taro'") == [(1,)]
    # A run of the files does not lift the hold.
    declare(desired(tenant("acme", "taro@acme.example", "jiro@acme.example")))
    assert see(gate.USER, ask, "taro") == [("bulk_mail",)]

    see("mailhosting", "SELECT v1.gate_release(%s)", numbers["taro@acme.example"])
    assert see(gate.USER, ask, "taro") == [(None,)]
    see(gate.USER, "SELECT v1.gate_stop(%s, 'bulk_mail', '{}')", numbers["taro@acme.example"])
    assert see("postgres", "SELECT count(*) FROM directory.notice") == [(2,)]
    see(gate.USER, "SELECT v1.gate_stop(999, 'bulk_mail', '{}')")


def test_mail_that_waits_is_known_until_it_is_gone(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", "taro@acme.example")))
    keep = "SELECT v1.gate_keep(%s, %s, %s, 'bulk_mail', %s)"
    waiting = "SELECT queue_id, account_id, tenant_id, kind, held_at FROM v1.held_mail ORDER BY queue_id"
    see(gate.USER, keep, "A1", 17, None, 1_800_000_000.25)
    see(gate.USER, keep, "B2", None, 3, 1_800_000_000.5)
    assert see("mailhosting", waiting) == [
        ("A1", 17, None, "bulk_mail", 1_800_000_000.25),
        ("B2", None, 3, "bulk_mail", 1_800_000_000.5),
    ]
    # Postfix has used the same queue id again.
    see(gate.USER, keep, "A1", 18, None, 1_800_000_009.0)
    forget = "SELECT v1.forget_held_mail(%s, %s)"
    see("mailhosting", forget, ["A1", "B2"], [1_800_000_000.25, 1_800_000_000.5])
    assert see("mailhosting", waiting) == [("A1", 18, None, "bulk_mail", 1_800_000_009.0)]


def test_the_gate_of_the_release_before_reads_a_plan_until_it_is_restarted(declare: Declare, see: See) -> None:
    counts = {"recipients_per_content": 5, "recipients_per_content_received": None, "invalid_recipients": 7}
    rest = {"per": 60, "action": "hold"}
    declare(desired(tenant("acme", overrides={"bulk_mail": {**counts, **rest}})))
    (tenant_id,) = see("postgres", "SELECT id FROM directory.tenant")[0]
    ((settings,),) = see(gate.USER, "SELECT settings FROM v1.gate_tenant(%s)", tenant_id)
    assert settings["bulk_mail"] == {**counts, **rest}
    former = {"same_content": 5, "same_content_received": None, "unknown_recipients": 7, **rest}
    assert former.items() <= settings["mass_mail"].items()


def test_what_the_gate_of_the_release_before_stops_has_the_present_kinds(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", "taro@acme.example", "jiro@acme.example")))
    numbers = ids(see)
    see(gate.USER, "SELECT v1.gate_stop(%s, 'mass_mail', '{}')", numbers["taro@acme.example"])
    see(gate.USER, "SELECT v1.gate_stop(%s, 'unknown_recipients', '{}')", numbers["jiro@acme.example"])
    see(gate.USER, "SELECT v1.gate_keep('A1', %s, NULL, 'mass_mail', 1)", numbers["taro@acme.example"])
    see(gate.USER, "SELECT v1.add_notice('mass_mail', %s, NULL, '{}', 'x')", numbers["acme"])
    assert see("postgres", "SELECT reason FROM directory.hold ORDER BY id") == [("bulk_mail",), ("invalid_recipients",)]
    assert see("postgres", "SELECT kind FROM directory.held_mail") == [("bulk_mail",)]
    notices = see("postgres", "SELECT kind FROM directory.notice ORDER BY id")
    assert notices == [("bulk_mail",), ("invalid_recipients",), ("bulk_mail",)]


def test_where_a_mailbox_is_in_postfixs_queue(declare: Declare, see: See) -> None:
    acme = tenant(
        "acme",
        account("keeps@acme.example", forward=forward(OUTSIDE)),
        "12:30@acme.example",
        account("off@acme.example", state="suspended"),
    )
    declare(desired(acme))
    ids = [row[0] for row in see("postgres", "SELECT id FROM directory.account ORDER BY id")]
    queued = see(gate.USER, "SELECT address FROM v1.gate_queued(%s::bigint[])", [*ids, 4711])
    assert sorted(row[0] for row in queued) == [
        '"12:30"@acme.example.mailbox.invalid',
        "keeps@acme.example.mailbox.invalid",
    ]


def test_what_the_plan_says(declare: Declare, see: See) -> None:
    limits = [{"messages": 5, "per": 60, "pause": None, "pause_applies_to": ["send"]}]
    declare(desired(tenant("acme", overrides={"max_message_size": 7}), plans=plans(send_limits=limits)))
    (tenant_id,) = see("postgres", "SELECT id FROM directory.tenant")[0]
    ((name, settings),) = see(gate.USER, "SELECT * FROM v1.gate_tenant(%s)", tenant_id)
    assert name == "acme"
    assert settings == {
        "max_message_size": 7,
        "tenant_quota": None,
        "send_limits": limits,
        "receive_limits": [],
        "account_send_limits": [],
        "bulk_mail": None,
        "virus": None,
        "mass_mail": None,
    }
