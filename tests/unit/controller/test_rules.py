# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Contradictions between items, as the controller and the host find them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import rules_of_items
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import (
    Account,
    Alias,
    Desired,
    Domain,
    Forward,
    Tenant,
)


def tenant(name: str, *items: Account | Alias, domains: tuple[str, ...] = (), **settings: Any) -> Tenant:
    owned = domains or (f"{name}.example",)
    return Tenant(
        name,
        plan=settings.pop("plan", "basic"),
        file=f"tenants/{name}.yml",
        addresses_file=f"addresses/{name}.yml",
        line=1,
        domains={domain: Domain(domain, line=3) for domain in owned},
        accounts={item.address: item for item in items if isinstance(item, Account)},
        aliases={item.address: item for item in items if isinstance(item, Alias)},
        **settings,
    )


def account(local_part: str, line: int, domain: str = "acme.example", **settings: Any) -> Account:
    return Account(local_part, domain, line=line, **settings)


def alias(local_part: str, line: int, *targets: str, domain: str = "acme.example") -> Alias:
    return Alias(
        local_part, domain, tuple(target if "@" in target else f"{target}@{domain}" for target in targets), line
    )


def lines(*tenants: Tenant, **plan: Any) -> list[str]:
    found = rules_of_items.check(
        Desired({"basic": {"max_forward_targets": None, **plan}}, {tenant.name: tenant for tenant in tenants})
    )
    return sorted(map(str, found))


def line(place: str, path: str, message: str) -> str:
    return f"{place}: {path}: {message}"


def test_nothing_is_wrong_with_what_is_right() -> None:
    items = (
        account("taro", 3),
        account("ken", 4, forward=Forward(("ken@home.example",))),
        alias("all", 6, "taro", "ken"),
    )
    assert lines(tenant("acme", *items), tenant("bolt")) == []


def test_unknown_plan() -> None:
    assert lines(tenant("acme", plan="gold")) == [
        line("tenants/acme.yml:1", "plan", '"gold" is not a plan; plans: basic')
    ]


def test_domain_of_two_tenants() -> None:
    assert lines(tenant("acme"), tenant("bolt", domains=("bolt.example", "acme.example"))) == [
        line(
            "tenants/bolt.yml:3",
            "domains.acme.example",
            '"acme.example" is already a domain of tenant acme (tenants/acme.yml)',
        )
    ]


def test_host_name_of_two_tenants() -> None:
    acme, bolt = tenant("acme"), tenant("bolt")
    acme.domains["acme.example"].hostnames = ("mail.acme.example",)
    bolt.domains["bolt.example"].hostnames = ("mail.bolt.example", "mail.acme.example")
    assert lines(acme, bolt) == [
        line(
            "tenants/bolt.yml:3",
            "domains.bolt.example.hostnames[1]",
            '"mail.acme.example" is already a host name of tenant acme (tenants/acme.yml)',
        )
    ]


def test_foreign_domain_is_one_line_however_many_addresses() -> None:
    items = [account(f"u{line}", line, "bolt.example") for line in range(3, 9)]
    assert lines(tenant("acme", *items), tenant("bolt")) == [
        line(
            "addresses/acme.yml:3",
            "bolt.example.accounts.u3",
            '"bolt.example" is a domain of tenant bolt (tenants/bolt.yml), not of acme',
        )
    ]


def test_domain_of_nobody() -> None:
    assert lines(tenant("acme", alias("a", 3, "x@home.example", domain="free.example"))) == [
        line(
            "addresses/acme.yml:3",
            "free.example.aliases.a",
            '"free.example" is not a domain of tenant acme: add it to domains in tenants/acme.yml',
        )
    ]


def test_account_and_alias_of_one_address() -> None:
    assert lines(tenant("acme", account("taro", 3), alias("taro", 5, "x@home.example"))) == [
        line(
            "addresses/acme.yml:5",
            "acme.example.aliases.taro",
            '"taro@acme.example" is already an account (addresses/acme.yml:3)',
        )
    ]


def test_item_that_no_file_declares_is_named_by_its_path() -> None:
    assert lines(tenant("acme", account("taro", 0), alias("taro", 5, "x@home.example"))) == [
        line(
            "addresses/acme.yml:5",
            "acme.example.aliases.taro",
            '"taro@acme.example" is already an account (tenant acme, in no file)',
        )
    ]


def test_two_passwords() -> None:
    assert lines(tenant("acme", account("taro", 3, password="x", password_hash="{SSHA}x"))) == [
        line(
            "addresses/acme.yml:3",
            "acme.example.accounts.taro.password_hash",
            '"taro@acme.example" also has a password among the secrets: keep one of the two',
        )
    ]


def test_name_that_is_renamed_may_become_an_alias() -> None:
    items = account("taro.y", 3, renamed_from="taro"), alias("taro", 5, "taro.y")
    assert lines(tenant("acme", *items)) == []


def test_name_that_is_renamed_is_no_account_any_more() -> None:
    assert lines(tenant("acme", account("taro", 3), account("taro.y", 4, renamed_from="taro"))) == [
        line(
            "addresses/acme.yml:4",
            "acme.example.accounts.taro.y.renamed_from",
            '"taro" is still an account (addresses/acme.yml:3): take out one of the two, or say restore: false there '
            "if a new one, with an empty mailbox, is to have the name",
        )
    ]


def test_name_is_renamed_once() -> None:
    assert lines(tenant("acme", account("a", 3, renamed_from="taro"), account("b", 4, renamed_from="taro"))) == [
        line(
            "addresses/acme.yml:4",
            "acme.example.accounts.b.renamed_from",
            '"taro" is renamed to "a@acme.example" too (addresses/acme.yml:3)',
        )
    ]


def test_too_many_accounts_and_aliases() -> None:
    items = account("a", 3), account("b", 4, state="suspended"), alias("postmaster", 5, "a"), alias("c", 7, "a")
    assert lines(tenant("acme", *items), max_accounts=3) == []
    assert lines(tenant("acme", *items), max_accounts=2) == [
        line(
            "addresses/acme.yml:7",
            "acme.example.aliases.c",
            "3 accounts and aliases, and plan basic allows tenant acme 2 (max_accounts)",
        )
    ]


def test_override_raises_the_limit() -> None:
    items = account("a", 3), account("b", 4)
    assert lines(tenant("acme", *items, overrides={"max_accounts": 2}), max_accounts=1) == []


@pytest.mark.requirement("VM-8")
def test_too_many_targets() -> None:
    targets = tuple(f"u{number}@home.example" for number in range(3))
    items = account("ken", 3, forward=Forward(targets)), alias("all", 5, *targets)
    assert lines(tenant("acme", *items), max_forward_targets=3) == []
    assert lines(tenant("acme", *items), max_forward_targets=2) == [
        (
            line(
                "addresses/acme.yml:3",
                "acme.example.accounts.ken.forward.to",
                "3 targets, and plan basic allows tenant acme 2 (max_forward_targets)",
            )
        ),
        line(
            "addresses/acme.yml:5",
            "acme.example.aliases.all",
            "3 targets, and plan basic allows tenant acme 2 (max_forward_targets)",
        ),
    ]


@pytest.mark.parametrize(
    ("plan", "most"),
    [
        ({"mailbox_quota": 1 << 30}, "1G"),
        ({"mailbox_quota": 1 << 30, "max_account_quota": 3 << 29}, "1536M"),
        ({"mailbox_quota": None, "max_account_quota": 100}, "100"),
        ({}, None),
        ({"mailbox_quota": 1, "max_account_quota": None}, None),
    ],
)
def test_a_quota_above_the_plan(plan: dict[str, Any], most: str | None) -> None:
    items = account("a", 3, quota=100), account("b", 4, quota=2 << 30), account("c", 5, quota=None), account("d", 6)
    expected = [
        line(
            f"addresses/acme.yml:{number}",
            f"acme.example.accounts.{name}.quota",
            f"{given}, and plan basic allows tenant acme {most} (max_account_quota, or else mailbox_quota)",
        )
        for number, name, given in ((4, "b", "2G"), (5, "c", "no limit"))
    ]
    assert lines(tenant("acme", *items), **plan) == (expected if most else [])
    # A quota from a module is the operator's own decision.
    assert lines(tenant("acme", account("b", 0, quota=2 << 30)), **plan) == []


@pytest.mark.parametrize("allowed", [None, 1000, 5000])
def test_no_plan_allows_more_than_a_thousand_targets(allowed: int | None) -> None:
    targets = tuple(f"u{number}@home.example" for number in range(1001))
    most = account("ken", 3, forward=Forward(targets[:1000])), alias("all", 5, *targets[:1000])
    assert lines(tenant("acme", *most), max_forward_targets=allowed) == []
    more = account("ken", 3, forward=Forward(targets)), alias("all", 5, *targets)
    message = (
        "1001 targets, and plan basic allows tenant acme 1000 (max_forward_targets)"
        if allowed == 1000
        else "1001 targets, and no address may have more than 1000, whatever its plan says"
    )
    assert lines(tenant("acme", *more), max_forward_targets=allowed) == [
        line("addresses/acme.yml:3", "acme.example.accounts.ken.forward.to", message),
        line("addresses/acme.yml:5", "acme.example.aliases.all", message),
    ]


def test_six_targets_are_the_default() -> None:
    acme = tenant("acme", alias("all", 5, *(f"u{number}" for number in range(7))))
    assert [str(problem) for problem in rules_of_items.check(Desired({"basic": {}}, {"acme": acme}))] == [
        line(
            "addresses/acme.yml:5",
            "acme.example.aliases.all",
            "7 targets, and plan basic allows tenant acme 6 (max_forward_targets)",
        )
    ]


def test_alias_to_itself() -> None:
    assert lines(tenant("acme", alias("a", 3, "b", "a"))) == [
        line(
            "addresses/acme.yml:3",
            "acme.example.aliases.a[1]",
            '"a@acme.example" forwards to itself (a copy in the mailbox is keep: true)',
        )
    ]


def test_loop_over_two_tenants_and_a_forward() -> None:
    acme = tenant("acme", alias("a", 3, "x@home.example", "b@bolt.example"))
    bolt = tenant("bolt", account("b", 4, "bolt.example", forward=Forward(("a@acme.example",))))
    assert lines(acme, bolt) == [
        line(
            "addresses/bolt.yml:4",
            "bolt.example.accounts.b.forward.to[0]",
            "mail goes round in a loop: a@acme.example -> b@bolt.example -> a@acme.example; name another target here",
        )
    ]


def loop(*addresses: str) -> str:
    return f"mail goes round in a loop: {' -> '.join(addresses)}; name another target here"


def test_loop_through_a_contact() -> None:
    acme = tenant("acme", contacts={"technical": "x@bolt.example"})
    bolt = tenant("bolt", alias("x", 5, "y@home.example", "postmaster@acme.example", domain="bolt.example"))
    assert lines(acme, bolt) == [
        line(
            "addresses/bolt.yml:5",
            "bolt.example.aliases.x[1]",
            loop("postmaster@acme.example", "x@bolt.example", "postmaster@acme.example"),
        )
    ]
    # A declared postmaster@ gets its own mail.
    assert lines(tenant("acme", account("postmaster", 3), contacts={"technical": "x@bolt.example"}), bolt) == []
    closed = tenant("acme", contacts={"technical": "x@bolt.example"}, state="closed")
    assert lines(closed, bolt) == []


def test_loop_of_contacts_alone() -> None:
    """Two tenants name each other, with and without an abuse contact of their own."""
    acme = tenant("acme", contacts={"technical": "abuse@bolt.example"})
    bolt = tenant("bolt", contacts={"technical": "taro@home.example", "abuse": "abuse@acme.example"})
    assert lines(acme, bolt) == [
        line(
            "tenants/acme.yml:1",
            "contacts.technical",
            loop("abuse@bolt.example", "abuse@acme.example", "abuse@bolt.example"),
        )
    ]


def test_contact_that_is_led_to_itself() -> None:
    acme = tenant("acme", account("taro", 3, forward=Forward(("abuse@acme.example",))))
    acme.contacts = {"technical": "taro@acme.example"}
    assert lines(acme) == [
        line(
            "tenants/acme.yml:1",
            "contacts.technical",
            loop("taro@acme.example", "abuse@acme.example", "taro@acme.example"),
        )
    ]


def test_loop_through_a_catch_all() -> None:
    acme = tenant("acme", account("taro", 3), alias("a", 4, "x@home.example"))
    acme.domains["acme.example"].catch_all = "x@bolt.example"
    bolt = tenant("bolt", alias("x", 5, "nobody@acme.example", domain="bolt.example"))
    assert lines(acme, bolt) == [
        line(
            "tenants/acme.yml:3",
            "domains.acme.example.catch_all",
            loop("x@bolt.example", "*@acme.example", "x@bolt.example"),
        )
    ]
    for somebody in ("taro", "a"):
        there = tenant("bolt", alias("x", 5, f"{somebody}+y@acme.example", domain="bolt.example"))
        assert lines(acme, there) == []


def test_catch_alls_that_name_nobody_of_each_other() -> None:
    acme, bolt = tenant("acme"), tenant("bolt")
    acme.domains["acme.example"].catch_all = "nobody@bolt.example"
    bolt.domains["bolt.example"].catch_all = "nobody@acme.example"
    assert lines(acme, bolt) == [
        line(
            "tenants/bolt.yml:3",
            "domains.bolt.example.catch_all",
            loop("*@acme.example", "*@bolt.example", "*@acme.example"),
        )
    ]


def test_detail_does_not_hide_a_loop() -> None:
    assert lines(tenant("acme", alias("a", 3, "b+x"), alias("b", 4, "a"))) == [
        line(
            "addresses/acme.yml:4",
            "acme.example.aliases.b[0]",
            loop("a@acme.example", "b@acme.example", "a@acme.example"),
        )
    ]


def test_two_ways_to_one_place_are_no_loop() -> None:
    assert (
        lines(tenant("acme", alias("a", 3, "b", "c"), alias("b", 4, "d"), alias("c", 5, "d"), alias("d", 6, "x"))) == []
    )


def test_long_loop_is_shortened() -> None:
    items = [alias(f"a{number}", number + 3, f"a{(number + 1) % 9}") for number in range(9)]
    shown = " -> ".join(f"a{number}@acme.example" if number != "…" else "…" for number in (0, 1, 2, "…", 7, 8, 0))
    assert lines(tenant("acme", *items)) == [
        line(
            "addresses/acme.yml:11",
            "acme.example.aliases.a8[0]",
            f"mail goes round in a loop: {shown}; name another target here",
        )
    ]


def test_hostile_chain_takes_no_time() -> None:
    """Every alias of a long chain also points back to its start: as many loops as aliases, and a deep walk."""
    length = 20_000
    items = [alias(f"a{number}", number + 3, "a0", f"a{number + 1}") for number in range(length)]
    begin = time.process_time()
    assert len(lines(tenant("acme", *items))) == length
    assert time.process_time() - begin < 5
