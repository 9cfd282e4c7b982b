# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The effect of a run of files on a directory: who owns what, and what no accident can delete."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import passwords
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import Changes, Options, Scope
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Desired
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.problems import BadInputError, DirectoryError
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.reconcile import reconcile
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.rows import Current

from .build import HASH, OTHER_HASH, PLANS, account, account_row, alias, current_of, desired, forward, tenant

KEY = b"key of this host"


def run(current: Current, wanted: Desired, **options: Any) -> Changes:
    return reconcile(current, wanted, Options(**options))


def counts(changes: Changes) -> dict[str, int]:
    return {name: number for name, number in changes.counts().items() if number}


def acme(*items: Any, **attributes: Any) -> Desired:
    return desired(tenant("acme", *items, **attributes))


def problems(current: Current, wanted: Desired, **options: Any) -> list[str]:
    with pytest.raises(BadInputError) as raised:
        run(current, wanted, **options)
    return str(raised.value).splitlines()


FULL = acme(
    account("taro@acme.example", password_hash=HASH, quota=5),
    account("hanako@acme.example", quota=None, state="no_login"),
    account("ken@acme.example", forward=forward("ken@home.example", "taro@acme.example", keep=False)),
    account("jiro@acme.example", forward=None),
    alias("sales@acme.example", "taro@acme.example", "partner@elsewhere.example"),
    overrides={"mailbox_quota": 1},
)


def test_into_an_empty_directory_everything_is_new() -> None:
    changes = run(Current(), FULL)
    assert counts(changes) == {"created": 5}
    assert {plan.name for plan in changes.plans} == PLANS.keys()
    assert [change.name for change in changes.tenants] == ["acme"]
    assert [change.name for change in changes.domains] == ["acme.example"]


def test_the_same_again_changes_nothing() -> None:
    changes = run(current_of(FULL), FULL)
    assert not changes
    assert counts(changes) == {"unchanged": 5}


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        ({}, {"state": "suspended"}, {"state": "suspended"}),
        ({"state": "suspended"}, {}, {"state": "active"}),
        ({}, {"quota": 7}, {"quota": 7}),
        ({}, {"quota": None}, {"quota": 0}),
        ({"quota": 7}, {}, {"quota": None}),
        ({"quota": None}, {"quota": 7}, {"quota": 7}),
        (
            {},
            {"forward": forward("a@x.example")},
            {
                "forward_to": ["a@x.example"],
                "forward_keep": True,
                "forward_applied": {"to": ["a@x.example"], "keep": True},
            },
        ),
        (
            {"forward": forward("a@x.example")},
            {"forward": forward("a@x.example", keep=False)},
            {
                "forward_to": ["a@x.example"],
                "forward_keep": False,
                "forward_applied": {"to": ["a@x.example"], "keep": False},
            },
        ),
        (
            {"forward": forward("a@x.example")},
            {"forward": None},
            {"forward_to": None, "forward_keep": None, "forward_applied": {}},
        ),
        # Removing the key hands forwarding and password back to the user, with their present values.
        ({"forward": forward("a@x.example")}, {}, {"forward_applied": None}),
        ({"forward": None}, {}, {"forward_applied": None}),
        ({"password_hash": HASH}, {}, {"password_applied": None, "password_fingerprint": None}),
        (
            {"password_hash": HASH},
            {"password_hash": OTHER_HASH},
            {"password": OTHER_HASH, "password_applied": OTHER_HASH, "password_fingerprint": None},
        ),
        # A value that the user had set already now belongs to the file.
        ({"password": "x"}, {"password_hash": HASH}, {"password_applied": HASH, "password_fingerprint": None}),
    ],
)
def test_one_changed_key_writes_its_columns(before: Any, after: Any, fields: dict[str, Any]) -> None:
    changes = run(current_of(acme(account("taro@acme.example", **before))), acme(account("taro@acme.example", **after)))
    (change,) = changes.accounts
    assert (change.action, change.fields, change.plain) == ("change", fields, None)
    assert counts(changes) == {"changed": 1}


def with_row(wanted: Desired, **columns: Any) -> Current:
    """The directory of `wanted` after somebody changed columns of its one account."""
    current = current_of(wanted)
    ((address, row),) = current.accounts.items()
    current.accounts[address] = row._replace(**columns)
    return current


def test_a_users_own_change_stays_where_nothing_is_declared() -> None:
    plain = acme("taro@acme.example")
    current = with_row(plain, password=OTHER_HASH, forward_to=["a@x.example"], forward_keep=True)
    assert not run(current, plain)


def test_a_users_own_change_is_undone_where_it_is_declared() -> None:
    declared = acme(account("taro@acme.example", password_hash=HASH, forward=None))
    current = with_row(
        declared, password=OTHER_HASH, password_applied=False, forward_to=["a@x.example"], forward_keep=True
    )
    (change,) = run(current, declared).accounts
    assert change.fields["password"] == HASH
    assert change.fields["forward_to"] is None
    # The enforced value stays remembered.
    assert "forward_applied" not in change.fields
    assert change.fields["password_applied"] == HASH


@pytest.mark.parametrize(
    ("stored", "applied", "enforce", "sets"),
    [
        (None, None, False, True),
        (None, None, True, True),
        (HASH, None, False, False),
        (HASH, None, True, True),  # it cannot be compared
        (HASH, "same", True, False),
        (HASH, "other", True, True),
        (HASH, "same, but the user has changed it", True, True),
    ],
)
def test_when_a_plain_password_is_set(stored: str | None, applied: str | None, enforce: bool, sets: bool) -> None:
    declared = acme(account("taro@acme.example", password="correct horse"))
    fingerprint = passwords.fingerprint("battery" if applied == "other" else "correct horse", KEY) if applied else None
    current = with_row(
        declared,
        password=stored,
        password_applied=None if applied is None else applied in ("same", "other"),
        password_fingerprint=fingerprint,
    )
    changes = run(current, declared, enforce_passwords=enforce, fingerprint_key=KEY)
    assert [change.plain for change in changes.accounts] == (["correct horse"] if sets else [])
    if sets:
        assert changes.accounts[0].enforced is enforce


@pytest.mark.parametrize("declared", [{}, {"password": "correct horse"}])
def test_a_plain_password_no_longer_enforced_is_handed_back(declared: dict[str, Any]) -> None:
    wanted = acme(account("taro@acme.example", **declared))
    current = with_row(wanted, password=HASH, password_applied=True, password_fingerprint="a$b")
    (change,) = run(current, wanted).accounts
    assert change.fields == {"password_applied": None, "password_fingerprint": None}
    assert change.plain is None


def test_operators_attributes_of_a_tenant_are_what_the_file_says() -> None:
    before = acme(overrides={"mailbox_quota": 1}, state="suspended", plan="large")
    changes = run(current_of(before), acme())
    (change,) = changes.tenants
    assert change.after is not None
    assert (change.after.plan, change.after.overrides, change.after.state) == ("basic", {}, "active")


def test_aliases_are_what_the_file_says() -> None:
    before = acme(
        "taro@acme.example", alias("a@acme.example", "taro@acme.example"), alias("b@acme.example", "x@y.example")
    )
    after = acme(
        "taro@acme.example", alias("a@acme.example", "x@y.example"), alias("c@acme.example", "taro@acme.example")
    )
    changes = run(current_of(before), after)
    assert {change.address: change.targets for change in changes.aliases} == {
        "a@acme.example": ("x@y.example",),
        "b@acme.example": None,
        "c@acme.example": ("taro@acme.example",),
    }
    assert counts(changes) == {"created": 1, "changed": 1, "removed": 1, "unchanged": 1}


BEFORE = acme("taro@acme.example", "jiro@acme.example", alias("sales@acme.example", "taro@acme.example"))
FEWER = acme("taro@acme.example", alias("sales@acme.example", "taro@acme.example"))


def test_an_account_no_longer_declared_is_reported() -> None:
    changes = run(current_of(BEFORE), FEWER)
    assert not changes
    assert changes.undeclared == ["jiro@acme.example"]


def test_with_purge_it_is_closed() -> None:
    changes = run(current_of(BEFORE), FEWER, purge=True)
    assert [(change.action, change.address) for change in changes.accounts] == [("close", "jiro@acme.example")]
    assert changes.undeclared == []


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize(
    ("after", "undeclared"),
    [
        (desired(), ["acme"]),
        (desired(plans={}), ["acme"]),
        (acme(addresses_file=""), ["jiro@acme.example", "sales@acme.example", "taro@acme.example"]),
    ],
)
def test_a_file_that_has_vanished_closes_and_removes_nothing(
    after: Desired, undeclared: list[str], purge: bool
) -> None:
    changes = run(current_of(BEFORE), after, purge=purge)
    assert [changes.accounts, changes.aliases, changes.domains, changes.tenants] == [[], [], [], []]
    assert sorted(changes.undeclared) == undeclared
    # The tenant was not removed, so its plan stays.
    assert "basic" in changes.settings.plans


def test_a_closed_tenant_closes_all_its_accounts_whoever_made_them() -> None:
    current = current_of(BEFORE)
    current.accounts |= current_of(acme("mod@acme.example"), origin="module", first_id=50).accounts
    after = acme(*FEWER.tenants["acme"].accounts.values(), *FEWER.tenants["acme"].aliases.values(), state="closed")
    changes = run(current, after, expect_closed=3)
    assert sorted(change.address for change in changes.of("close")) == [
        "jiro@acme.example",
        "mod@acme.example",
        "taro@acme.example",
    ]
    assert len(changes.accounts) == 3
    again = current_of(after)
    again.accounts = {}
    assert not run(again, after)


def test_a_tenant_closes_whose_catch_all_is_an_account_of_its_own() -> None:
    before, after = acme("taro@acme.example"), acme(state="closed")
    for wanted in (before, after):
        wanted.tenants["acme"].domains["acme.example"].catch_all = "taro@acme.example"
    assert counts(run(current_of(before), after)) == {"closed": 1}


def test_a_closed_tenant_without_mail_and_file_goes_with_purge() -> None:
    current = current_of(acme(alias("sales@acme.example", "x@y.example"), state="closed"))
    kept = copy.deepcopy(current)
    kept.tenants["acme"] = kept.tenants["acme"]._replace(mailboxes=1)
    assert not run(current, desired())
    assert not run(kept, desired(), purge=True)
    changes = run(current, desired(), purge=True)
    assert [(change.name, change.after) for change in changes.tenants] == [("acme", None)]
    assert [(change.name, change.after) for change in changes.domains] == [("acme.example", None)]
    assert [(change.address, change.targets) for change in changes.aliases] == [("sales@acme.example", None)]


@pytest.mark.parametrize(
    ("there", "closing", "expected", "fails"),
    [
        (1, 1, None, False),
        (49, 1, None, False),
        (50, 2, None, True),
        (51, 2, None, False),  # 2 % rounded up
        (51, 3, None, True),
        (51, 3, 3, False),
        (51, 3, 2, True),
        (51, 3, 4, True),
        (51, 2, 9, False),
        (1000, 10, None, False),
        (1000, 11, None, True),
        (1000, 11, 11, False),
    ],
)
def test_the_fuse(there: int, closing: int, expected: int | None, fails: bool) -> None:
    current = current_of(acme(*(f"u{number}@acme.example" for number in range(there))))
    after = acme(*(f"u{number}@acme.example" for number in range(closing, there)))
    if fails:
        with pytest.raises(DirectoryError, match=f"would close {closing} of {there} .*expect_closed: {closing}"):
            run(current, after, purge=True, expect_closed=expected)
    else:
        assert len(run(current, after, purge=True, expect_closed=expected).of("close")) == closing


def test_the_fuse_counts_the_accounts_in_scope() -> None:
    current = current_of(
        desired(tenant("acme", "a@acme.example", "b@acme.example"), tenant("bolt", *many("bolt", 500)))
    )
    scope = Scope(frozenset({"acme"}))
    with pytest.raises(DirectoryError, match="would close 2 of 2"):
        run(current, acme(), purge=True, scope=scope)


def many(name: str, number: int) -> list[str]:
    return [f"u{index}@{name}.example" for index in range(number)]


def test_a_limited_run_touches_no_other_tenant() -> None:
    before = desired(
        tenant("acme", "a@acme.example"), tenant("bolt", "b@bolt.example", alias("c@bolt.example", "b@bolt.example"))
    )
    plans = {"basic": {"mailbox_quota": 1}}
    after = desired(
        tenant("acme", "a@acme.example", "new@acme.example", state="no_login"),
        tenant("bolt", state="closed"),
        plans=plans,
    )
    changes = run(current_of(before), after, scope=Scope(frozenset({"acme"})), purge=True)
    assert [change.address for change in changes.accounts] == ["new@acme.example"]
    assert changes.aliases == []
    assert [change.name for change in changes.tenants] == ["acme"]
    # Bolt uses the plan too.
    assert changes.plans == []
    assert any("plan basic stays" in warning for warning in changes.warnings)


def test_a_limited_run_may_change_a_plan_that_is_its_own() -> None:
    before = desired(tenant("acme", plan="large"), tenant("bolt"))
    plans = {**PLANS, "large": {"mailbox_quota": 1}}
    changes = run(
        current_of(before), desired(tenant("acme", plan="large"), plans=plans), scope=Scope(frozenset({"acme"}))
    )
    assert [(change.name, change.after) for change in changes.plans] == [("large", {"mailbox_quota": 1})]


def test_a_plan_nobody_has_any_more_is_removed() -> None:
    changes = run(current_of(acme()), desired(tenant("acme"), plans={"basic": PLANS["basic"]}))
    assert [(change.name, change.after) for change in changes.plans] == [("large", None)]


def test_a_rename_changes_the_address_alone() -> None:
    after = acme(account("001@acme.example", renamed_from="zero-one", password_hash=HASH))
    current = current_of(acme(account("zero-one@acme.example", password_hash=HASH)))
    changes = run(current, after)
    (change,) = changes.accounts
    assert (change.row, change.address, change.fields) == (
        current.accounts["zero-one@acme.example"],
        "001@acme.example",
        {},
    )
    assert change.renamed
    assert counts(changes) == {"renamed": 1}
    assert not run(current_of(after), after)


def test_a_rename_waits_while_both_addresses_are_accounts() -> None:
    after = acme(account("001@acme.example", renamed_from="zero-one"))
    changes = run(current_of(acme("zero-one@acme.example", "001@acme.example")), after)
    assert not changes
    assert changes.undeclared == ["zero-one@acme.example"]


def test_renamed_from_an_account_that_never_was_makes_a_new_one() -> None:
    changes = run(current_of(acme()), acme(account("001@acme.example", renamed_from="zero-one")))
    assert counts(changes) == {"created": 1}


def test_an_account_that_moves_to_another_domain_is_a_new_one() -> None:
    domains = ["acme.example", "acme.test"]
    changes = run(current_of(acme("taro@acme.example", domains=domains)), acme("taro@acme.test", domains=domains))
    assert counts(changes) == {"created": 1}
    assert changes.undeclared == ["taro@acme.example"]


def closed_taro() -> Current:
    current = current_of(acme())
    declared = account("taro@acme.example", password_hash=HASH)
    current.closed["acme", declared.address] = account_row(7, "acme", declared, "inventory")._replace(origin="")
    return current


@pytest.mark.parametrize(("restore", "action", "number"), [(True, "restore", 7), (False, "create", None)])
def test_a_closed_address_that_is_declared_again(restore: bool, action: str, number: int | None) -> None:
    (change,) = run(closed_taro(), acme(account("taro@acme.example", restore=restore, state="no_login"))).accounts
    assert (change.action, change.row.id if change.row else None) == (action, number)
    assert change.fields["state"] == "no_login"


def test_without_an_answer_it_is_a_question() -> None:
    (line,) = problems(closed_taro(), acme(account("taro@acme.example", line=14)))
    assert line.startswith("addresses/acme.yml:14: acme.example.accounts.taro: ")
    assert "restore: true" in line
    assert "restore: false" in line


@pytest.mark.parametrize("restore", [True, False])
def test_once_answered_the_answer_may_stay(restore: bool) -> None:
    wanted = acme(account("taro@acme.example", restore=restore))
    assert not run(current_of(wanted), wanted)


def test_nothing_to_restore_starts_empty_with_a_warning() -> None:
    changes = run(current_of(acme()), acme(account("taro@acme.example", restore=True)))
    assert counts(changes) == {"created": 1}
    assert any("nothing to restore" in warning for warning in changes.warnings)


def test_a_closed_mailbox_is_never_restored_to_another_tenant() -> None:
    current = closed_taro()
    current.domains = {}
    changes = run(
        current,
        desired(
            tenant("bolt", account("taro@acme.example", restore=True), domains=["acme.example"]),
            tenant("acme", domains=["x.example"]),
        ),
    )
    assert [change.action for change in changes.accounts] == ["create"]


def test_an_alias_may_take_a_closed_address() -> None:
    changes = run(closed_taro(), acme(alias("taro@acme.example", "x@y.example")))
    assert counts(changes) == {"created": 1}


def test_a_rename_does_not_answer_for_a_closed_mailbox() -> None:
    current = closed_taro()
    current.accounts |= current_of(acme("old@acme.example")).accounts
    (line,) = problems(current, acme(account("taro@acme.example", renamed_from="old")))
    assert "restore: true" in line
    (change,) = run(current, acme(account("taro@acme.example", renamed_from="old", restore=False))).accounts
    assert change.renamed


# Other holders of an address, and the messages.

TARO = acme("taro@acme.example")
TARO_ALIAS = acme(alias("taro@acme.example", "x@y.example"))
TAKEN = [
    (TARO, "module", TARO, "an account of tenant acme, made by a module"),
    (TARO, "module", TARO_ALIAS, "an account of tenant acme, made by a module"),
    (TARO_ALIAS, "module", TARO, "an alias of tenant acme, made by a module"),
    (TARO_ALIAS, "module", TARO_ALIAS, "an alias of tenant acme, made by a module"),
    (TARO, "system", TARO, "an account of tenant acme, made by the system"),
    (TARO, "inventory", TARO_ALIAS, "purge: true closes it first"),
]


@pytest.mark.parametrize(("there", "origin", "wanted", "said"), TAKEN)
def test_an_address_that_somebody_has(there: Desired, origin: str, wanted: Desired, said: str) -> None:
    current = current_of(acme())
    other = current_of(there, origin=origin)
    current.accounts, current.aliases = other.accounts, other.aliases
    (line,) = problems(current, wanted)
    assert line.startswith("addresses/acme.yml:")
    assert '"taro@acme.example" is ' in line
    assert said in line


def test_with_purge_an_alias_takes_the_address_of_an_account() -> None:
    changes = run(current_of(acme("taro@acme.example")), acme(alias("taro@acme.example", "x@y.example")), purge=True)
    assert counts(changes) == {"created": 1, "closed": 1}


def test_an_account_takes_the_address_of_an_alias() -> None:
    changes = run(current_of(acme(alias("taro@acme.example", "x@y.example"))), acme("taro@acme.example"))
    assert counts(changes) == {"created": 1, "removed": 1}


@pytest.mark.parametrize("purge", [False, True])
def test_rows_of_modules_are_left_alone(purge: bool) -> None:
    current = current_of(acme())
    made = current_of(acme("mod@acme.example", alias("info@acme.example", "mod@acme.example")), origin="module")
    current.accounts, current.aliases = made.accounts, made.aliases
    changes = run(current, acme(), purge=purge)
    assert not changes
    assert changes.undeclared == []


def test_they_count_all_the_same() -> None:
    plans = {"basic": {"max_accounts": 2}}
    current = current_of(desired(tenant("acme", "taro@acme.example"), plans=plans))
    current.accounts |= current_of(acme("mod@acme.example"), origin="module", first_id=9).accounts
    (line,) = problems(current, desired(tenant("acme", "taro@acme.example", "jiro@acme.example"), plans=plans))
    assert "3 accounts and aliases, and plan basic allows tenant acme 2" in line


def test_a_loop_through_a_row_of_a_module() -> None:
    current = current_of(acme())
    current.aliases = current_of(acme(alias("a@acme.example", "b@acme.example")), origin="module").aliases
    (line,) = problems(current, acme(alias("b@acme.example", "a@acme.example")))
    assert "loop" in line


def test_a_loop_through_a_tenant_that_the_run_does_not_touch() -> None:
    before = desired(tenant("bolt", alias("b@bolt.example", "a@acme.example")))
    after = acme(alias("a@acme.example", "b@bolt.example"))
    (line,) = problems(current_of(before), after, scope=Scope(frozenset({"acme"})))
    assert "loop" in line


def test_a_loop_through_what_a_user_forwards() -> None:
    wanted = acme("taro@acme.example", alias("all@acme.example", "taro@acme.example"))
    current = with_row(acme("taro@acme.example"), forward_to=["all@acme.example"], forward_keep=False)
    (line,) = problems(current, wanted)
    assert "loop" in line


def test_a_tenant_that_a_module_made_cannot_be_declared() -> None:
    (line,) = problems(current_of(acme(), origin="module"), acme())
    assert line == "tenants/acme.yml:1: acme: tenant acme was made by a module; change it where it was made"


# Domains.


def test_a_domain_goes_when_nothing_is_left_in_it() -> None:
    two = ["acme.example", "old.example"]
    taro = "taro@old.example"
    empty = run(current_of(acme(domains=two)), acme())
    assert [(change.name, change.after) for change in empty.domains] == [("old.example", None)]
    kept = run(current_of(acme(taro, domains=two)), acme())
    assert kept.domains == []
    assert kept.undeclared == [taro, "old.example"]
    purged = run(current_of(acme(taro, domains=two)), acme(), purge=True)
    assert [(change.name, change.after) for change in purged.domains] == [("old.example", None)]
    assert counts(purged) == {"closed": 1}


def test_another_tenants_domain_cannot_be_taken() -> None:
    current = current_of(desired(tenant("bolt", domains=["acme.example"])))
    (line,) = problems(current, acme(), scope=Scope(frozenset({"acme"})))
    assert line.startswith("tenants/acme.yml:2: domains.acme.example: ")
    assert "acme.example belongs to tenant bolt, declared in the inventory's files" in line


def test_a_domain_passes_on_when_its_tenant_gives_it_up_empty() -> None:
    before = desired(tenant("acme"), tenant("bolt", "x@old.example", domains=["bolt.example", "old.example"]))
    after = desired(tenant("acme", "x@old.example", domains=["acme.example", "old.example"]), tenant("bolt"))
    lines = problems(current_of(before), after)
    assert any("no mailbox passes from one tenant to another" in line for line in lines)
    # Closing and creating them would replace mailboxes by empty ones.
    (line,) = problems(current_of(before), after, purge=True)
    assert "old.example has 1 mailboxes of tenant bolt, such as x@old.example, which this run would close" in line
    closed = desired(tenant("acme"), tenant("bolt", domains=["bolt.example", "old.example"]))
    changes = run(current_of(before), closed, purge=True)
    assert counts(changes) == {"closed": 1}
    changes = run(current_of(closed), after, purge=True)
    assert counts(changes) == {"created": 1}
    (change,) = changes.domains
    assert change.before
    assert change.after
    assert (change.before.tenant, change.after.tenant) == ("bolt", "acme")


def test_new_name_for_one_and_the_old_one_for_another() -> None:
    before = acme(account("taro@acme.example", forward=forward("x@home.example")))
    after = acme(account("jiro@acme.example", renamed_from="taro"), account("taro@acme.example", restore=False))
    changes = run(current_of(before), after)
    assert [(change.action, change.address, change.row and change.row.address) for change in changes.accounts] == [
        ("change", "jiro@acme.example", "taro@acme.example"),
        ("create", "taro@acme.example", None),
    ]
    assert not run(current_of(after), after)


def test_each_gets_the_name_of_the_next() -> None:
    before = acme("a@acme.example", "b@acme.example")
    after = acme(account("b@acme.example", renamed_from="a"), account("c@acme.example", renamed_from="b"))
    changes = run(current_of(before), after)
    assert {change.row.address: change.address for change in changes.accounts if change.row} == {
        "a@acme.example": "b@acme.example",
        "b@acme.example": "c@acme.example",
    }
    assert not run(current_of(after), after)


SWAP = acme(account("a@acme.example", renamed_from="b"), account("b@acme.example", renamed_from="a"))


def test_two_swap_their_names_once() -> None:
    changes = run(current_of(acme("a@acme.example", "b@acme.example")), SWAP)
    assert {change.row.address: change.address for change in changes.accounts if change.row} == {
        "a@acme.example": "b@acme.example",
        "b@acme.example": "a@acme.example",
    }
    assert counts(changes) == {"renamed": 2}
    current = current_of(SWAP)
    for address, row in current.accounts.items():
        current.accounts[address] = row._replace(swapped_from="b" if row.local_part == "a" else "a")
    assert not run(current, SWAP)
    # After a run without the declaration, the same swap may be declared again.
    handed_back = run(current, acme("a@acme.example", "b@acme.example"))
    assert [change.fields for change in handed_back.accounts] == [{"swapped_from": None}] * 2
    # New accounts have no names to swap.
    created = run(current_of(acme()), SWAP)
    assert counts(created) == {"created": 2}
    assert [change.fields["swapped_from"] for change in created.accounts] == ["b", "a"]


@pytest.mark.parametrize("swapped_from", [None, "b"])
def test_a_swap_of_which_a_half_is_there(swapped_from: str | None) -> None:
    there = acme("a@acme.example", *(["b@acme.example"] if swapped_from else []))
    current = current_of(there)
    current.accounts["a@acme.example"] = current.accounts["a@acme.example"]._replace(swapped_from=swapped_from)
    lines = problems(current, SWAP)
    assert len(lines) == 2
    assert all(
        "a@acme.example, b@acme.example get each other's names, but some are not there" in line for line in lines
    )


# Panels.


def test_a_panel_keeps_its_tenants_addresses() -> None:
    current = current_of(desired(tenant("acme", "taro@acme.example", addresses_managed_by="panel")), origin="panel")
    current.tenants["acme"] = current.tenants["acme"]._replace(origin="inventory")
    changes = run(current, desired(tenant("acme", addresses_managed_by="panel", addresses_file="")), purge=True)
    assert not changes
    assert changes.undeclared == []


def test_addresses_are_handed_to_a_panel_and_back() -> None:
    panel = desired(tenant("acme", addresses_managed_by="panel", addresses_file=""))
    current = current_of(acme("taro@acme.example", "jiro@acme.example"))
    changes = run(current, panel, purge=True)
    assert changes.accounts == []
    assert [(change.before, change.after) for change in changes.handovers] == [("inventory", "panel")]
    current = current_of(panel)
    current.accounts = current_of(acme("taro@acme.example", "jiro@acme.example"), origin="panel").accounts
    changes = run(current, acme("taro@acme.example"))
    assert [(change.before, change.after) for change in changes.handovers] == [("panel", "inventory")]
    assert changes.accounts == []
    assert changes.undeclared == ["jiro@acme.example"]


# Targets.


@pytest.mark.parametrize(
    ("item", "path"),
    [
        (alias("sales@acme.example", "taro@acme.example", "nobody@acme.example"), "acme.example.aliases.sales[1]"),
        (
            account("ken@acme.example", line=9, forward=forward("nobody@acme.example")),
            "acme.example.accounts.ken.forward.to[0]",
        ),
        (alias("sales@acme.example", "nobody+box@acme.example"), "acme.example.aliases.sales[0]"),
    ],
)
def test_a_target_of_ones_own_must_exist(item: Any, path: str) -> None:
    (line,) = problems(Current(), acme("taro@acme.example", item))
    assert line.startswith(f"addresses/acme.yml:9: {path}: ")
    assert "is neither an account nor an alias" in line


@pytest.mark.parametrize(
    "target", ["x@elsewhere.example", "taro@acme.example", "taro+box@acme.example", "other@acme.example"]
)
def test_any_other_target_may_be(target: str) -> None:
    wanted = acme(
        "taro@acme.example", alias("other@acme.example", "taro@acme.example"), alias("sales@acme.example", target)
    )
    assert run(Current(), wanted).warnings == []


def test_a_missing_target_of_another_tenant_is_a_warning() -> None:
    changes = run(
        Current(), desired(tenant("acme", alias("sales@acme.example", "nobody@bolt.example")), tenant("bolt"))
    )
    assert changes.warnings == ["sales@acme.example: its target nobody@bolt.example does not exist at tenant bolt"]


def test_closing_a_target_is_noticed() -> None:
    current = current_of(acme("taro@acme.example", alias("sales@acme.example", "taro@acme.example")))
    (line,) = problems(current, acme(alias("sales@acme.example", "taro@acme.example")), purge=True)
    assert '"taro@acme.example" is neither' in line


def test_all_mistakes_are_listed_at_once() -> None:
    current = closed_taro()
    current.accounts |= current_of(acme("mod@acme.example"), origin="module").accounts
    lines = problems(current, acme("taro@acme.example", "mod@acme.example"))
    assert len(lines) == 2


def test_the_declared_is_not_changed_by_the_run() -> None:
    wanted = copy.deepcopy(FULL)
    run(with_row(acme("taro@acme.example"), forward_to=["x@y.example"], forward_keep=True), wanted)
    assert wanted == FULL


def test_who_has_no_password_at_all_is_named() -> None:
    def said(current: Current, *items: Any, **attributes: Any) -> list[str]:
        return run(current, acme(*items, **attributes)).without_password

    silent = "taro@acme.example"
    assert said(Current(), silent, account("hanako@acme.example", password="x")) == [silent]
    # Every run warns until the account has a password.
    assert said(current_of(acme(silent)), silent) == [silent]
    assert said(current_of(acme(silent)), account(silent, password="x")) == []
    assert said(current_of(acme(account(silent, password="x"))), silent) == []
    renamed = account("ken@acme.example", renamed_from="taro")
    assert said(current_of(acme(account(silent, password_hash=HASH))), renamed) == []
    # These accounts need no login.
    assert said(Current(), account(silent, state="no_login")) == []
    assert said(Current(), account(silent, forward=forward("x@home.example", keep=False))) == []
    assert said(Current(), silent, state="no_login") == []
    assert said(Current(), account(silent, forward=forward("x@home.example"))) == [silent]
