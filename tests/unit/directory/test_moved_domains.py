# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain moves to another tenant with its mailboxes only if both tenants' files declare it."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import (
    Hold,
    HoldOrder,
    Options,
    Scope,
)
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import (
    Account,
    Alias,
    Desired,
    MovedDomain,
    Tenant,
)
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.problems import BadInputError
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.reconcile import reconcile
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.rules_of_items import check_moves
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Store

from .build import HASH, PLANS, account, alias, desired, forward, tenant
from .conftest import Declare, Run, See
from .test_mail_on_its_way import accepted, arrives

DOMAIN = "moving.example"
PLACE = f"tenants/new.yml:2: domains.{DOMAIN}.moved_from: "
ITEMS = (
    account(f"taro@{DOMAIN}", password_hash=HASH, quota=7),
    account(f"ken@{DOMAIN}", forward=forward("x@home.example")),
    alias(f"sales@{DOMAIN}", f"taro@{DOMAIN}"),
)


def old(*items: Account | Alias | str, has: bool = False, moved_to: str | None = None, **attributes: Any) -> Tenant:
    result = tenant("old", *items, domains=["old.example", *([DOMAIN] if has else [])], **attributes)
    if moved_to:
        result.moved_to[DOMAIN] = MovedDomain(DOMAIN, moved_to, line=4)
    return result


def new(*items: Account | Alias | str, has: bool = True, moved_from: str | None = None, **attributes: Any) -> Tenant:
    result = tenant("new", *items, domains=[*([DOMAIN] if has else []), "new.example"], **attributes)
    if moved_from:
        result.domains[DOMAIN].moved_from = moved_from
    return result


BEFORE = desired(old("o@old.example", *ITEMS, has=True), new("n@new.example", has=False))
AFTER = desired(old("o@old.example", moved_to="new"), new("n@new.example", *ITEMS, moved_from="old"))


def refused(declare: Declare, wanted: Desired, **options: Any) -> list[str]:
    with pytest.raises(BadInputError) as raised:
        declare(wanted, **options)
    return str(raised.value).splitlines()


def with_new(**attributes: Any) -> Desired:
    return desired(AFTER.tenants["old"], new("n@new.example", *ITEMS, moved_from="old", **attributes))


@pytest.mark.parametrize("purge", [False, True])
def test_rows_change_their_owner_and_nothing_else(declare: Declare, store: Store, see: See, purge: bool) -> None:
    declare(BEFORE)
    before, queued = store.load(), accepted(see, f"sales@{DOMAIN}")
    changes = declare(AFTER, purge=purge)
    assert [(move.name, move.before, move.after) for move in changes.moved_domains] == [(DOMAIN, "old", "new")]
    assert (changes.accounts, changes.aliases, changes.undeclared, changes.warnings) == ([], [], [], [])
    assert changes.may_end_sessions
    after = store.load()
    mine = (f"taro@{DOMAIN}", f"ken@{DOMAIN}")
    assert {address: row for address, row in after.accounts.items() if address not in mine} == {
        address: row for address, row in before.accounts.items() if address not in mine
    }
    for address in mine:
        assert after.accounts[address] == before.accounts[address]._replace(tenant="new")
    assert after.aliases == before.aliases
    assert after.domains[DOMAIN] == before.domains[DOMAIN]._replace(tenant="new")
    assert {name: row.mailboxes for name, row in after.tenants.items()} == {"old": 1, "new": 3}
    assert accepted(see, f"sales@{DOMAIN}") == queued
    found = [arrives(see, recipient) for recipient in queued]
    assert [user and user[1] for user in found] == [f"taro@{DOMAIN}"]
    assert not declare(AFTER, purge=purge)


def test_the_words_may_be_taken_out_and_the_old_tenants_may_end(declare: Declare, store: Store) -> None:
    declare(BEFORE)
    declare(AFTER)
    assert not declare(desired(old("o@old.example"), new("n@new.example", *ITEMS)), purge=True)
    declare(desired(old(state="closed"), new("n@new.example", *ITEMS, moved_from="old")), purge=True)
    assert {row.tenant for row in store.load().accounts.values()} == {"new"}


def test_it_moves_on_and_back(declare: Declare, store: Store) -> None:
    declare(BEFORE)
    declare(AFTER)
    onward = desired(
        old("o@old.example", moved_to="new"),
        new("n@new.example", has=False),
        tenant("third", *ITEMS, domains=[DOMAIN]),
    )
    onward.tenants["new"].moved_to[DOMAIN] = MovedDomain(DOMAIN, "third", line=4)
    onward.tenants["third"].domains[DOMAIN].moved_from = "new"
    assert check_moves(onward) == []
    declare(onward, purge=True)
    assert store.load().domains[DOMAIN].tenant == "third"
    back = desired(old("o@old.example", *ITEMS, has=True), new("n@new.example", has=False), tenant("third"))
    back.tenants["old"].domains[DOMAIN].moved_from = "third"
    back.tenants["third"].moved_to[DOMAIN] = MovedDomain(DOMAIN, "old", line=4)
    declare(back, purge=True)
    assert store.load().domains[DOMAIN].tenant == "old"


#: A declaration, and the beginning of its error message.
UNSAID: dict[str, tuple[Desired, str]] = {
    "nobody": (
        desired(old("o@old.example"), new("n@new.example", *ITEMS)),
        f"tenants/new.yml:2: domains.{DOMAIN}: {DOMAIN} has 2 mailboxes of tenant old, such as ",
    ),
    "the new tenant alone": (
        desired(old("o@old.example"), new("n@new.example", *ITEMS, moved_from="old")),
        (
            f"{PLACE}tenant old does not declare the move: write {DOMAIN}: {{moved_to: new}} "
            "among the domains of tenants/old.yml"
        ),
    ),
    "the old tenant alone": (
        desired(old("o@old.example", moved_to="new"), new("n@new.example", *ITEMS)),
        f"tenants/old.yml:4: domains.{DOMAIN}.moved_to: tenant new does not take it in this run, so its mailboxes ",
    ),
    "another old tenant": (
        desired(old("o@old.example", moved_to="new"), new("n@new.example", *ITEMS, moved_from="x"), tenant("x")),
        f"{PLACE}{DOMAIN} is a domain of tenant old, not of x",
    ),
    "another new tenant": (
        desired(old("o@old.example", moved_to="x"), new("n@new.example", *ITEMS, moved_from="old"), tenant("x")),
        f"{PLACE}tenant old says moved_to: x: write {DOMAIN}: {{moved_to: new}} among the domains of tenants/old.yml",
    ),
    "no file of the old tenant": (
        desired(new("n@new.example", *ITEMS, moved_from="old")),
        f"{PLACE}tenant old must declare the move too, but is not in this run: name both tenants, and write {DOMAIN}: ",
    ),
    "to a closed tenant": (
        with_new(state="closed"),
        f"{PLACE}tenant new is closed, so all mailboxes of",
    ),
}


@pytest.mark.parametrize("who", UNSAID)
def test_never_without_the_word_of_both(declare: Declare, store: Store, who: str) -> None:
    declare(BEFORE)
    before = store.load()
    wanted, message = UNSAID[who]
    lines = refused(declare, wanted, purge=True, expect_closed=2)
    assert any(line.startswith(message) for line in lines), lines
    assert store.load() == before


@pytest.mark.parametrize("only", ["old", "new"])
def test_a_run_of_one_of_them_moves_and_closes_nothing(declare: Declare, only: str) -> None:
    declare(BEFORE)
    wanted = desired(AFTER.tenants[only])
    (line,) = refused(declare, wanted, purge=True, expect_closed=2, scope=Scope(frozenset({only})))
    assert "name both tenants" in line


def test_a_check_of_the_files_says_the_same() -> None:
    def said(wanted: Desired) -> list[str]:
        return [str(problem) for problem in check_moves(wanted)]

    assert said(AFTER) == []
    # A tenant without a file has ended; the host checks the directory for it.
    assert said(UNSAID["no file of the old tenant"][0]) == []
    for who in ("the new tenant alone", "another new tenant"):
        assert any(line.startswith(UNSAID[who][1]) for line in said(UNSAID[who][0])), who
    place = f"tenants/old.yml:4: domains.{DOMAIN}.moved_to: "
    to_write = f"write {DOMAIN}: {{moved_from: old}} among the domains of tenants/new.yml, or take it out here"
    assert said(UNSAID["the old tenant alone"][0]) == [f"{place}tenant new does not declare the move: {to_write}"]
    assert said(desired(old(moved_to="nobody"))) == [f"{place}there is no tenant nobody"]


def test_what_the_new_plan_does_not_allow_is_refused(declare: Declare) -> None:
    plans = {**PLANS, "small": {"max_accounts": 3}}
    declare(Desired(plans, BEFORE.tenants))
    (line,) = refused(declare, Desired(plans, with_new(plan="small").tenants))
    assert "4 accounts and aliases, and plan small allows tenant new 3 (max_accounts)" in line


@pytest.mark.parametrize(("until", "may"), [(None, False), (4102444800, False), (1, True)])
@pytest.mark.parametrize("scope", ["send", "retention"])
def test_nobody_escapes_a_hold_of_the_old_tenant(
    declare: Declare, store: Store, scope: str, until: int | None, may: bool
) -> None:
    declare(BEFORE)
    order = HoldOrder(None, "old", (Hold(scope, "ticket 4711", until),))
    scope_of_it = Scope(frozenset(), frozenset(), frozenset(), settings=False)
    store.apply(reconcile(store.load(), Desired(), Options(scope=scope_of_it, explicit=True, holds=order)), 0)
    if may:
        assert declare(AFTER)
    else:
        (line,) = refused(declare, AFTER)
        assert line.startswith(f"{PLACE}tenant old has a hold ({scope}), which would not move with {DOMAIN}: ")


def test_a_hold_of_an_account_comes_along(declare: Declare, store: Store, see: See) -> None:
    declare(BEFORE)
    number = store.load().accounts[f"taro@{DOMAIN}"].id
    see("mailhosting-gate", "SELECT v1.gate_stop(%s, 'bulk_mail', '{}')", number)
    declare(AFTER)
    assert see("mailhosting-gate", "SELECT held FROM v1.gate_owner('taro', %s)", DOMAIN) == [("bulk_mail",)]


def test_closed_mailboxes_come_along_and_can_be_restored(declare: Declare, store: Store) -> None:
    declare(BEFORE)
    number = store.load().accounts[f"taro@{DOMAIN}"].id
    ken = ITEMS[1]
    declare(desired(old("o@old.example", ken, has=True), new("n@new.example", has=False)), purge=True)
    declare(desired(old("o@old.example", moved_to="new"), new("n@new.example", ken, moved_from="old")))
    restored = account(f"taro@{DOMAIN}", restore=True)
    declare(desired(old("o@old.example", moved_to="new"), new("n@new.example", ken, restored, moved_from="old")))
    assert store.load().accounts[f"taro@{DOMAIN}"].id == number


def test_former_names_come_along(declare: Declare, see: See) -> None:
    declare(BEFORE)
    hanako = account(f"hanako@{DOMAIN}", renamed_from="taro")
    ken = ITEMS[1]
    declare(desired(old("o@old.example", hanako, ken, has=True), new("n@new.example", has=False)))
    declare(desired(old("o@old.example", moved_to="new"), new("n@new.example", hanako, ken, moved_from="old")))
    assert see("postfix", "SELECT * FROM v1.alias_targets('taro', %s)", DOMAIN) == [(f"hanako@{DOMAIN}",)]


def test_what_still_leads_there_is_told(declare: Declare) -> None:
    def leading(**attributes: Any) -> Tenant:
        home = account("o@old.example", forward=forward(f"ken@{DOMAIN}"))
        both = alias("both@old.example", "o@old.example", f"taro@{DOMAIN}")
        result = old(home, both, contacts={"technical": f"taro@{DOMAIN}"}, **attributes)
        result.domains["old.example"].catch_all = f"ken@{DOMAIN}"
        return result

    before = leading(has=True)
    for item in ITEMS:
        if isinstance(item, Account):
            before.accounts[item.address] = item
        else:
            before.aliases[item.address] = item
    declare(desired(before, new("n@new.example", has=False)))
    wanted = desired(leading(moved_to="new"), new("n@new.example", *ITEMS, moved_from="old"))
    assert sorted(declare(wanted).warnings) == [
        f"tenant old: catch_all of old.example ken@{DOMAIN} is an address of tenant new now",
        f"tenant old: contacts.technical taro@{DOMAIN} is an address of tenant new now",
        f"tenant old: the target of both@old.example taro@{DOMAIN} is an address of tenant new now",
        f"tenant old: the target of o@old.example ken@{DOMAIN} is an address of tenant new now",
    ]
    assert declare(wanted).warnings == []


def test_it_is_billed_and_counted_where_it_is(declare: Declare, store: Store, see: See) -> None:
    day = date(2026, 11, 28)

    def rows() -> dict[str, tuple[int, int]]:
        see("vmail", "SELECT v1.record_day(%s)", day)
        return {row["tenant"]: (row["addresses"], row["bytes"]) for row in store.usage_days(None, day, day)}

    declare(BEFORE)
    used = {row.id: 100 for row in store.load().accounts.values()}
    see("vmail", "SELECT v1.record_usage(%s)", json.dumps(used))
    assert rows() == {"old": (4, 300), "new": (1, 100)}
    declare(AFTER)
    assert rows() == {"old": (1, 100), "new": (4, 300)}
    members = see("mailhosting-gate", "SELECT username FROM v1.gate_mailboxes(%s)", _number(store, "new"))
    assert sorted(name for (name,) in members) == [f"ken@{DOMAIN}", "n@new.example", f"taro@{DOMAIN}"]


def test_quotas_of_the_new_plan_are_compared(declare: Declare, see: See) -> None:
    declare(BEFORE)
    see("mailhosting", "DELETE FROM directory.quota_recheck RETURNING 1")
    declare(AFTER)
    found = see(
        "mailhosting", "SELECT ad.local_part FROM directory.quota_recheck JOIN directory.address ad USING (account_id)"
    )
    assert sorted(found) == [("ken",), ("taro",)]


def test_who_has_more_than_the_new_limits_is_named(sync: Run, store: Store, see: See) -> None:
    plans = {**PLANS, "small": {"mailbox_quota": 50, "max_account_quota": None, "tenant_quota": 250}}
    sync(Desired(plans, BEFORE.tenants))
    see("vmail", "SELECT v1.record_usage(%s)", json.dumps({row.id: 100 for row in store.load().accounts.values()}))
    outcome = sync(Desired(plans, with_new(plan="small").tenants), check=True)
    assert [(item["tenant"], item["address"], item["limit"]) for item in outcome["over"]] == [
        ("new", None, "tenant_quota"),
        ("new", f"ken@{DOMAIN}", "mailbox_quota"),
        ("new", "n@new.example", "mailbox_quota"),
    ]


def test_no_secret_comes_into_a_plan_that_keeps_none(declare: Declare, store: Store) -> None:
    plans = {**PLANS, "old": {"legacy_auth": True}}
    before = BEFORE.tenants
    declare(Desired(plans, {"old": old("o@old.example", *ITEMS, has=True, plan="old"), "new": before["new"]}))
    store.connection.execute("UPDATE directory.account SET legacy_secret = 'k$i$x$'")
    declare(Desired(plans, {"old": old("o@old.example", moved_to="new", plan="old"), "new": AFTER.tenants["new"]}))
    assert {row.address: row.secret_key for row in store.load().accounts.values()} == {
        "o@old.example": "k",
        "n@new.example": None,
        f"taro@{DOMAIN}": None,
        f"ken@{DOMAIN}": None,
    }


@pytest.mark.parametrize("managers", [("inventory", "panel"), ("panel", "inventory")])
def test_the_addresses_are_whose_the_new_tenants_are(declare: Declare, store: Store, managers: tuple[str, str]) -> None:
    by = dict(zip(("old", "new"), managers, strict=True))

    def items(name: str) -> tuple[Account | Alias | str, ...]:
        return ITEMS if by[name] == "inventory" else ()

    declare(BEFORE)
    declare(
        desired(
            old(*(("o@old.example", *ITEMS) if items("old") else ()), has=True, addresses_managed_by=by["old"]),
            new(*(("n@new.example",) if items("new") else ()), has=False, addresses_managed_by=by["new"]),
        )
    )
    wanted = desired(
        old(*(("o@old.example",) if items("old") else ()), moved_to="new", addresses_managed_by=by["old"]),
        new(*(("n@new.example", *ITEMS) if items("new") else ()), moved_from="old", addresses_managed_by=by["new"]),
    )
    declare(wanted, purge=True)
    after = store.load()
    origins = {row.origin for row in after.accounts.values() if row.domain == DOMAIN}
    origins |= {row.origin for row in after.aliases.values() if row.domain == DOMAIN}
    assert origins == {by["new"]}
    assert not declare(wanted, purge=True)


def test_the_diff_says_who_had_it(sync: Run) -> None:
    sync(BEFORE)
    outcome = sync(AFTER, check=True)
    assert outcome["changed"]
    assert outcome["settings"] == [f"domain {DOMAIN}"]
    assert outcome["diff"]["before"] == f"domains:\n  {DOMAIN}:\n    tenant: old\n"
    assert outcome["diff"]["after"] == f"domains:\n  {DOMAIN}:\n    moved_from: old\n    tenant: new\n"


def test_who_is_closed_is_named(sync: Run) -> None:
    sync(BEFORE)
    wanted = desired(old("o@old.example", *ITEMS[:1], has=True), BEFORE.tenants["new"])
    for check in (True, False):
        outcome = sync(wanted, check=check, purge=True)
        assert f"closes 1 account: ken@{DOMAIN}" in outcome["warnings"]
        assert f"  ken@{DOMAIN}:\n    closed: " in outcome["diff"]["after"]


def _number(store: Store, name: str) -> int:
    row = store.connection.execute("SELECT id FROM directory.tenant WHERE name = %s", [name]).fetchone()
    assert row is not None
    return int(row[0])
