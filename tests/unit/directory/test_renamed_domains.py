# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain is renamed in place: mailboxes stay, and mail for the old name arrives for a time."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import Scope
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Account, Alias, Domain, Tenant
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.problems import BadInputError
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Store

from .build import HASH, PLANS, account, alias, desired, forward, tenant
from .conftest import Declare, Run, See
from .test_undeclared_addresses import recipient, targets

OLD, NEW = "old.example", "new.example"
REFUSAL = "550 5.2.1 This mailbox is disabled and takes no mail"


def acme(domain: str, *items: Account | Alias | str, renamed_from: str | None = None, **attributes: Any) -> Tenant:
    """A tenant with one domain; in it `items`, or taro@."""
    listed = items or (account(f"taro@{domain}"),)
    result = tenant("acme", *listed, domains=[domain], **attributes)
    result.domains[domain].renamed_from = renamed_from
    return result


def renamed(*items: Account | Alias | str, **attributes: Any) -> Tenant:
    return acme(NEW, *items, renamed_from=OLD, **attributes)


def bolt(*domains: str) -> Tenant:
    return tenant("bolt", domains=list(domains))


def plans(renamed_domain: int | None) -> dict[str, dict[str, Any]]:
    return {**PLANS, "basic": {**PLANS["basic"], "renamed_domain": renamed_domain}}


def refused(declare: Declare, *tenants: Tenant, **options: Any) -> str:
    with pytest.raises(BadInputError) as raised:
        declare(desired(*tenants), **options)
    return str(raised.value)


def age(store: Store, days: int) -> None:
    query = "UPDATE directory.former_domain SET renamed_at = now() - make_interval(days => %s)"
    store.connection.execute(query, [days])


def hosted(see: See) -> list[str]:
    return sorted(name for (name,) in see("postfix", "SELECT domain FROM v1.domain"))


def test_mailboxes_stay_and_both_names_lead_to_them(declare: Declare, store: Store, see: See) -> None:
    taro = account(f"taro@{OLD}", password_hash=HASH, quota=7)
    declare(desired(acme(OLD, taro, alias(f"sales@{OLD}", f"taro@{OLD}", "x@y.org"))))
    before = store.load().accounts[f"taro@{OLD}"]
    wanted = desired(
        renamed(account(f"taro@{NEW}", password_hash=HASH, quota=7), alias(f"sales@{NEW}", f"taro@{NEW}", "x@y.org"))
    )
    changes = declare(wanted, purge=True)
    assert [(rename.before, rename.after) for rename in changes.renamed_domains] == [(OLD, NEW)]
    assert (changes.accounts, changes.undeclared, changes.warnings) == ([], [], [])
    assert changes.may_end_sessions
    assert store.load().accounts == {f"taro@{NEW}": before._replace(domain=NEW)}
    assert hosted(see) == [NEW, OLD]
    assert (recipient(see, f"taro@{NEW}"), recipient(see, f"taro@{OLD}")) == ("OK", "OK")
    assert targets(see, f"taro@{NEW}") == []
    assert targets(see, f"taro@{OLD}") == [f"taro@{NEW}"]
    assert targets(see, f"sales@{OLD}") == [f"sales@{NEW}"]
    assert targets(see, f"sales@{NEW}") == [f"taro@{NEW}", "x@y.org"]
    assert (recipient(see, f"nobody@{OLD}"), targets(see, f"nobody@{OLD}")) == (None, [])
    # Postfix asks for taro+tag before taro, and adds the tag to the answer.
    assert targets(see, f"taro+tag@{OLD}") == []
    for user in (OLD, NEW):
        logins = see("dovecot", "SELECT username FROM v1.login(%s, %s)", "taro", user)
        assert logins == ([(f"taro@{NEW}",)] if user == NEW else [])
        assert bool(see("postfix", "SELECT FROM v1.sender_logins(%s, %s)", "taro", user)) is (user == NEW)
    assert not declare(wanted, purge=True)


def test_every_kind_of_address_is_reached_by_the_old_name(declare: Declare, see: See) -> None:
    def wanted(domain: str, **attributes: Any) -> Tenant:
        ken = account(f"ken@{domain}", state="suspended")
        home = account(f"home@{domain}", forward=forward("a@b.org", keep=False))
        contacts = {"technical": f"taro@{domain}"}
        result = acme(domain, f"taro@{domain}", ken, home, contacts=contacts, **attributes)
        result.domains[domain].catch_all = f"taro@{domain}"
        return result

    with_all = {"basic": {**PLANS["basic"], "all_address": "tenant"}}
    declare(desired(wanted(OLD), plans=with_all))
    declare(desired(wanted(NEW, renamed_from=OLD), plans=with_all))
    for name in ("taro", "home", "postmaster", "abuse", "whoever"):
        assert (recipient(see, f"{name}@{OLD}"), targets(see, f"{name}@{OLD}")) == ("OK", [f"{name}@{NEW}"]), name
    assert recipient(see, f"ken@{OLD}") == REFUSAL
    assert recipient(see, f"all@{OLD}") == "all_members"
    assert targets(see, f"all@{OLD}") == [f"all@{NEW}"]
    for domain, member in ((OLD, True), (NEW, True), ("else.example", None)):
        found = see("mailhosting-policy", "SELECT v1.is_member(%s, %s, %s)", "taro", NEW, domain)
        assert found == ([(True,)] if member else [])


def test_a_renamed_account_in_a_renamed_domain(declare: Declare, see: See) -> None:
    declare(desired(acme(OLD, f"first@{OLD}")))
    declare(desired(acme(OLD, account(f"second@{OLD}", renamed_from="first"))))
    changes = declare(desired(renamed(account(f"third@{NEW}", renamed_from="second"))))
    assert changes.counts()["renamed"] == 1
    assert targets(see, f"first@{OLD}") == [f"first@{NEW}"]
    assert targets(see, f"first@{NEW}") == targets(see, f"second@{NEW}") == [f"third@{NEW}"]


def test_the_old_name_ends_and_is_forgotten_by_the_next_run(declare: Declare, store: Store, see: See) -> None:
    declare(desired(acme(OLD)))
    wanted = desired(renamed())
    declare(wanted)
    age(store, 89)
    assert not declare(wanted)
    assert recipient(see, f"taro@{OLD}") == "OK"
    age(store, 90)
    assert hosted(see) == [NEW]
    assert (recipient(see, f"taro@{OLD}"), targets(see, f"taro@{OLD}")) == (None, [])
    changes = declare(wanted)
    assert [row.name for row in changes.ended_domains] == [OLD]
    assert see("mailhosting", "TABLE directory.former_domain") == []
    assert not declare(wanted)


def test_the_plan_says_for_how_long(declare: Declare, see: See) -> None:
    declare(desired(acme(OLD), plans=plans(None)))
    declare(desired(renamed(), plans=plans(None)))
    assert hosted(see) == [NEW]
    assert see("mailhosting", "TABLE directory.former_domain") == []


def test_a_plan_that_changes_ends_it_at_once(declare: Declare, see: See) -> None:
    declare(desired(acme(OLD)))
    declare(desired(renamed()))
    changes = declare(desired(renamed(overrides={"renamed_domain": None})))
    assert [row.name for row in changes.ended_domains] == [OLD]
    assert hosted(see) == [NEW]


def test_a_chain_of_renames_and_back(declare: Declare, store: Store, see: See) -> None:
    declare(desired(acme("a.example")))
    number = store.load().accounts["taro@a.example"].id
    declare(desired(acme("b.example", renamed_from="a.example")))
    declare(desired(acme("c.example", renamed_from="b.example")))
    for former in ("a.example", "b.example"):
        assert targets(see, f"taro@{former}") == ["taro@c.example"]
    declare(desired(acme("a.example", renamed_from="c.example")))
    assert {address: row.id for address, row in store.load().accounts.items()} == {"taro@a.example": number}
    assert targets(see, "taro@a.example") == []
    for former in ("b.example", "c.example"):
        assert targets(see, f"taro@{former}") == ["taro@a.example"]
    assert not declare(desired(acme("a.example", renamed_from="c.example")))


def test_a_closed_mailbox_comes_back_under_the_new_name(declare: Declare, store: Store) -> None:
    declare(desired(acme(OLD, f"taro@{OLD}", account(f"jiro@{OLD}", quota=7))))
    number = store.load().accounts[f"jiro@{OLD}"].id
    declare(desired(acme(OLD)), purge=True)
    declare(desired(renamed()))
    declare(desired(renamed(account(f"taro@{NEW}"), account(f"jiro@{NEW}", restore=True))))
    assert store.load().accounts[f"jiro@{NEW}"].id == number


def test_what_no_file_declares_follows(declare: Declare, store: Store, see: See) -> None:
    """A user's own forward in the old domain would later lead to that name's next owner."""
    old = (f"taro@{OLD}", f"jiro@{OLD}", account(f"ken@{OLD}", forward=forward(f"taro@{OLD}", keep=False)))
    declare(desired(acme(OLD, *old)))
    store.connection.execute(
        "UPDATE directory.account SET forward_to = %s, forward_keep = true WHERE forward_applied IS NULL",
        [["x@else.org", f"ken+y@{OLD}"]],
    )
    declared = account(f"ken@{NEW}", forward=forward(f"taro@{OLD}", keep=False))
    wanted = desired(renamed(account(f"taro@{NEW}", forward=None), f"jiro@{NEW}", declared))
    changes = declare(wanted)
    assert targets(see, f"jiro@{NEW}") == [f"jiro@{NEW}", f"ken+y@{NEW}", "x@else.org"]
    # A target that a file declares stays as declared, with a warning.
    assert targets(see, f"ken@{NEW}") == [f"taro@{OLD}"]
    assert changes.warnings == [
        f"ken@{NEW}: its target taro@{OLD} has the former name of {NEW}, which ends: write {NEW}"
    ]
    assert not declare(wanted)
    assert targets(see, f"jiro@{NEW}") == [f"jiro@{NEW}", f"ken+y@{NEW}", "x@else.org"]


def test_the_old_name_is_nobody_elses_meanwhile(declare: Declare, store: Store, see: See) -> None:
    declare(desired(acme(OLD), bolt("bolt.example")))
    assert refused(declare, renamed(), bolt(OLD)) == (
        f"tenants/bolt.yml:2: domains.{OLD}: {OLD} was renamed to {NEW} and takes mail for tenant acme for 90 more "
        "days: wait, or end it with renamed_domain: false in the overrides of tenants/acme.yml"
    )
    declare(desired(renamed(), bolt("bolt.example")))
    age(store, 88)
    assert "for 2 more days" in refused(declare, renamed(), bolt(OLD))
    # Another tenant cannot have it by a rename either.
    thief = bolt(OLD)
    thief.domains[OLD].renamed_from = "bolt.example"
    assert "for 2 more days" in refused(declare, renamed(), thief)
    declare(desired(renamed(overrides={"renamed_domain": None}), bolt(OLD)))
    assert recipient(see, f"taro@{OLD}") is None
    assert store.load().domains[OLD].tenant == "bolt"


@pytest.mark.parametrize("limit", [None, frozenset({"bolt"})])
def test_the_old_name_is_free_when_its_time_is_over(declare: Declare, store: Store, limit: Any) -> None:
    declare(desired(acme(OLD), bolt("bolt.example")))
    declare(desired(renamed(), bolt("bolt.example")))
    age(store, 90)
    declare(desired(renamed(), bolt("bolt.example", OLD)), scope=Scope(limit))
    assert store.load().domains[OLD].tenant == "bolt"
    assert store.load().former_domains == {}
    # The key renamed_from may stay in the file.
    assert not declare(desired(renamed(), bolt("bolt.example", OLD)))


def test_its_own_tenant_may_use_the_old_name_anew(declare: Declare, see: See) -> None:
    declare(desired(acme(OLD)))
    declare(desired(renamed()))
    both = tenant("acme", f"taro@{NEW}", f"jiro@{OLD}", domains=[NEW, OLD])
    declare(desired(both))
    assert recipient(see, f"taro@{OLD}") is None
    assert targets(see, f"jiro@{OLD}") == []
    assert recipient(see, f"jiro@{OLD}") == "OK"


def test_a_name_that_is_there_is_no_new_name(declare: Declare) -> None:
    declare(desired(tenant("acme", f"taro@{OLD}", f"taro@{NEW}", domains=[OLD, NEW])))
    assert refused(declare, renamed()) == (
        f'tenants/acme.yml:2: domains.{NEW}.renamed_from: "{OLD}" cannot become "{NEW}", which is there already: '
        "take out renamed_from and move the addresses, or remove the other domain first"
    )


def test_a_domain_of_another_tenant_is_not_renamed(declare: Declare) -> None:
    declare(desired(tenant("bolt", f"bill@{OLD}", domains=[OLD])))
    problem = f'domains.{NEW}.renamed_from: "{OLD}" is a domain of tenant bolt, not of acme'
    assert problem in refused(declare, renamed(), tenant("bolt", f"bill@{OLD}", domains=[OLD]))
    declare(desired(tenant("bolt", f"bill@{OLD}", domains=[OLD]), acme(NEW)))
    # A warning comes only once.
    assert not declare(desired(tenant("bolt", f"bill@{OLD}", domains=[OLD]), renamed()))


def test_a_domain_that_never_was_starts_empty_and_says_so(declare: Declare) -> None:
    changes = declare(desired(renamed()))
    assert changes.warnings == [f"domain {NEW}: there is no {OLD} to rename; it starts empty"]
    assert not declare(desired(renamed())).warnings


def test_the_old_name_cannot_stay_beside_the_new_one(declare: Declare) -> None:
    declare(desired(acme(OLD)))
    both = renamed()
    both.domains[OLD] = Domain(OLD, line=7)
    assert refused(declare, both) == (
        f'tenants/acme.yml:2: domains.{NEW}.renamed_from: "{OLD}" is still a domain (tenants/acme.yml:7): '
        "take out one of the two"
    )


def test_a_loop_over_the_old_name_is_one(declare: Declare) -> None:
    declare(desired(acme(OLD)))
    loop = alias(f"a@{NEW}", f"b@{OLD}"), alias(f"b@{NEW}", f"a+x@{NEW}", line=10)
    assert "mail goes round in a loop: " in refused(declare, renamed(f"taro@{NEW}", *loop))


def test_as_a_task_says_it(sync: Run) -> None:
    sync(desired(acme(OLD)))
    dry = sync(desired(renamed()), check=True)
    real = sync(desired(renamed()))
    assert dry == real
    assert (real["settings"], real["addresses"], real["undeclared"]) == ([f"domain {NEW}"], [], [])
    assert real["diff"] == {
        "before": f"domains:\n  {OLD}:\n    tenant: acme\n",
        "after": f"domains:\n  {NEW}:\n    renamed_from: {OLD}\n    tenant: acme\n",
    }
    assert not sync(desired(renamed()))["changed"]


def test_a_module_renames_too(run: Run, sync: Run, see: See) -> None:
    sync(desired(plans=PLANS))
    run("mail_tenant", name="m", plan="basic", domains=[{"name": OLD}])
    run("mail_account", address=f"taro@{OLD}")
    run("mail_alias", address=f"sales@{OLD}", targets=[f"taro@{OLD}", "x@y.org"])
    run("mail_tenant", name="m", contacts={"technical": f"taro@{OLD}"})
    result = run("mail_tenant", name="m", domains=[{"name": NEW, "renamed_from": OLD}])
    assert (result["changed"], result["warnings"]) == (True, [])
    assert not run("mail_tenant", name="m", domains=[{"name": NEW, "renamed_from": OLD}])["changed"]
    assert targets(see, f"sales@{NEW}") == [f"taro@{NEW}", "x@y.org"]
    assert targets(see, f"postmaster@{NEW}") == [f"taro@{NEW}"]
    info = run("mail_info", gather_subset=["tenants"])["tenants"]["m"]
    assert (info["domains"], info["former_domains"]) == ({NEW: []}, {OLD: NEW})


def test_a_contact_under_the_old_name_is_told(declare: Declare) -> None:
    declare(desired(acme(OLD)))
    wanted = renamed(contacts={"technical": f"taro@{OLD}"})
    (warning,) = declare(desired(wanted)).warnings
    assert (
        warning == f"tenant acme: contacts.technical taro@{OLD} has the former name of {NEW}, which ends: write {NEW}"
    )
    gone = renamed(contacts={"technical": f"nobody@{OLD}"})
    assert "is neither an account nor an alias" in refused(declare, gone)
