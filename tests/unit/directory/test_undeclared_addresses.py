# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses without a declaration: postmaster@, abuse@, all@, a catch-all, former names of accounts."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import Changes, Options
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Autoreply, Tenant
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.problems import BadInputError
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.reconcile import reconcile
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.rows import Current

from .build import PLANS, account, alias, desired, forward, tenant
from .conftest import Declare, See

REFUSAL = "550 5.2.1 This mailbox is disabled and takes no mail"


def recipient(see: See, address: str) -> str | None:
    """Postfix's action for a recipient; None: it does not exist."""
    found = see("postfix", "SELECT * FROM v1.recipient(%s, %s)", *address.split("@"))
    return found[0][0] if found else None


def targets(see: See, address: str) -> list[str]:
    return sorted(text for (text,) in see("postfix", "SELECT * FROM v1.alias_targets(%s, %s)", *address.split("@")))


def acme(*items: Any, **attributes: Any) -> Tenant:
    return tenant("acme", "taro@acme.example", "jiro@acme.example", *items, **attributes)


def plans(**settings: Any) -> dict[str, dict[str, Any]]:
    return {"basic": {**PLANS["basic"], **settings}}


@pytest.mark.parametrize(
    ("contacts", "postmaster", "abuse"),
    [
        ({}, ["postmaster"], ["postmaster"]),
        ({"technical": "taro@acme.example"}, ["taro@acme.example"], ["taro@acme.example"]),
        ({"technical": "a@else.example", "abuse": "b@else.example"}, ["a@else.example"], ["b@else.example"]),
        ({"billing": "a@else.example"}, ["postmaster"], ["postmaster"]),
    ],
)
@pytest.mark.requirement("VM-9")
def test_the_contacts_have_postmaster_and_abuse(
    declare: Declare, see: See, contacts: dict[str, str], postmaster: list[str], abuse: list[str]
) -> None:
    declare(desired(acme(contacts=contacts, domains=["acme.example", "second.example"])))
    for domain in ("acme.example", "second.example"):
        assert targets(see, f"postmaster@{domain}") == postmaster
        assert targets(see, f"abuse@{domain}") == abuse
        assert recipient(see, f"postmaster@{domain}") == "OK"


def test_a_catch_all_has_postmaster_before_the_host_has(declare: Declare, see: See) -> None:
    wanted = acme()
    wanted.domains["acme.example"].catch_all = "taro@acme.example"
    declare(desired(wanted))
    assert targets(see, "postmaster@acme.example") == targets(see, "abuse@acme.example") == ["taro@acme.example"]


def test_who_declares_postmaster_has_it(declare: Declare, see: See) -> None:
    declare(desired(acme("postmaster@acme.example", contacts={"technical": "taro@acme.example"})))
    assert targets(see, "postmaster@acme.example") == []
    assert recipient(see, "postmaster@acme.example") == "OK"


@pytest.mark.parametrize("contact", ["ken@acme.example", "ken+admin@acme.example", "office@acme.example"])
@pytest.mark.requirement("VM-9")
def test_the_hosts_postmaster_stands_in_for_a_contact_that_takes_no_mail(
    declare: Declare, see: See, contact: str
) -> None:
    suspended = account("ken@acme.example", state="suspended")
    wanted = acme(suspended, alias("office@acme.example", "ken@acme.example"), contacts={"technical": contact})
    wanted.domains["acme.example"].catch_all = "taro@acme.example"
    declare(desired(wanted))
    for role in ("postmaster", "abuse"):
        assert recipient(see, f"{role}@acme.example") == "OK"
        assert targets(see, f"{role}@acme.example") == ["postmaster"]


def test_abuse_goes_to_the_technical_contact_where_its_own_takes_no_mail(declare: Declare, see: See) -> None:
    contacts = {"technical": "taro@acme.example", "abuse": "ken@acme.example"}
    declare(desired(acme(account("ken@acme.example", state="suspended"), contacts=contacts)))
    assert targets(see, "abuse@acme.example") == targets(see, "postmaster@acme.example") == ["taro@acme.example"]


def test_a_contact_that_is_an_alias_takes_mail_while_one_of_its_targets_does(declare: Declare, see: See) -> None:
    suspended = account("ken@acme.example", state="suspended")
    office = alias("office@acme.example", "ken@acme.example", "taro@acme.example")
    declare(desired(acme(suspended, office, contacts={"technical": "office@acme.example"})))
    assert targets(see, "postmaster@acme.example") == ["office@acme.example"]


def test_what_a_suspended_account_was_called_is_refused_as_it_is(declare: Declare, see: See) -> None:
    declare(desired(acme("ken@acme.example")))
    renamed = account("kenji@acme.example", renamed_from="ken", state="suspended")
    wanted = acme(renamed)
    wanted.domains["acme.example"].catch_all = "taro@acme.example"
    declare(desired(wanted))
    assert recipient(see, "kenji@acme.example") == recipient(see, "ken@acme.example") == REFUSAL
    assert targets(see, "ken@acme.example") == []


def test_a_contact_in_an_own_domain_has_to_exist() -> None:
    with pytest.raises(
        BadInputError, match=r'tenants/acme.yml:1: contacts.technical: "nobody@acme.example" is neither'
    ):
        reconcile(Current(), desired(acme(contacts={"technical": "nobody@acme.example"})), Options())


@pytest.mark.requirement("VM-7")
def test_all_reaches_every_account_but_not_aliases_nor_suspended_ones(declare: Declare, see: See) -> None:
    ken = account("ken@acme.example", state="suspended")
    hanako = account("hanako@acme.example", state="no_login")
    wanted = acme(ken, hanako, alias("sales@acme.example", "partner@else.example"), "mari@second.example")
    wanted.domains |= tenant("x", domains=["second.example"]).domains
    declare(desired(wanted, plans=plans(all_address="tenant")))
    assert targets(see, "all@acme.example") == ["hanako@acme.example", "jiro@acme.example", "taro@acme.example"]
    assert targets(see, "all@second.example") == ["mari@second.example"]
    assert recipient(see, "all@acme.example") == "all_members"


def test_all_follows_the_accounts_and_the_plan(declare: Declare, see: See) -> None:
    declare(desired(acme(), plans=plans(all_address="everybody")))
    assert recipient(see, "all@acme.example") == "OK"
    declare(desired(acme("new@acme.example"), plans=plans(all_address="everybody")))
    assert "new@acme.example" in targets(see, "all@acme.example")
    declare(desired(acme("new@acme.example"), plans=plans()))
    assert recipient(see, "all@acme.example") is None
    assert targets(see, "all@acme.example") == []


def test_an_alias_may_lead_to_postmaster_and_never_to_all() -> None:
    everybody = alias("everybody@acme.example", "all@acme.example", "postmaster@acme.example")
    wanted = desired(acme(everybody, contacts={"technical": "taro@acme.example"}), plans=plans(all_address="tenant"))
    with pytest.raises(BadInputError, match=r"everybody\[0\]: .*; the plan's all@ cannot be a target") as refused:
        reconcile(Current(), wanted, Options())
    assert "postmaster" not in str(refused.value)


def test_no_detour_leads_to_all_of_another_tenant(declare: Declare, see: See) -> None:
    """Postfix checks who writes to all@; behind an alias, a forward or a catch-all of another tenant it cannot."""
    eve = account("eve@evil.example", forward=forward("all@acme.example"))
    evil = tenant("evil", eve, alias("x@evil.example", "all@acme.example", "all+y@acme.example", "eve@evil.example"))
    evil.domains["evil.example"].catch_all = "all@acme.example"
    evil.contacts = {"technical": "all@acme.example"}
    changes = declare(desired(acme(), evil, plans=plans(all_address="tenant")))
    assert any("all@acme.example does not exist" in warning for warning in changes.warnings)
    assert targets(see, "x@evil.example") == ["eve@evil.example"]
    assert targets(see, "eve@evil.example") == ["eve@evil.example"]
    assert targets(see, "whoever@evil.example") == []
    assert recipient(see, "whoever@evil.example") is None
    assert targets(see, "postmaster@evil.example") == []
    assert targets(see, "all@acme.example") == ["jiro@acme.example", "taro@acme.example"]


def test_a_catch_all_gets_what_is_for_nobody(declare: Declare, see: See) -> None:
    ken = account("ken@acme.example", state="suspended")
    away = account("away@acme.example", forward=forward("ken@acme.example", keep=False))
    wanted = acme(ken, away, alias("sales@acme.example", "jiro@acme.example"))
    wanted.domains["acme.example"].catch_all = "taro@acme.example"
    declare(desired(wanted))
    assert recipient(see, "nobody@acme.example") == "OK"
    assert targets(see, "nobody@acme.example") == ["taro@acme.example"]
    # Postfix asks for jiro+tag before jiro: neither an account nor the catch-all may answer for jiro+tag.
    assert recipient(see, "jiro+tag@acme.example") is None
    assert targets(see, "jiro+tag@acme.example") == []
    assert targets(see, "jiro@acme.example") == []
    assert targets(see, "sales@acme.example") == ["jiro@acme.example"]
    assert recipient(see, "ken@acme.example") == REFUSAL
    assert targets(see, "ken@acme.example") == []
    assert targets(see, "away@acme.example") == []
    assert recipient(see, "nobody@else.example") is None


def test_a_renamed_account_has_its_old_address_for_a_while(declare: Declare, see: See) -> None:
    declare(desired(acme("old@acme.example"), plans=plans(renamed_alias=3600)))
    renamed = acme(account("new@acme.example", renamed_from="old"))
    declare(desired(renamed, plans=plans(renamed_alias=3600)))
    assert targets(see, "old@acme.example") == ["new@acme.example"]
    assert recipient(see, "old@acme.example") == "OK"
    see("mailhosting", "UPDATE directory.former_address SET expires_at = now() RETURNING 1")
    assert recipient(see, "old@acme.example") is None
    # The tenant's next rename deletes it.
    declare(desired(acme(account("newest@acme.example", renamed_from="new")), plans=plans(renamed_alias=3600)))
    assert see("mailhosting", "SELECT local_part FROM directory.former_address") == [("new",)]


def test_a_renamed_account_is_the_same_to_the_retention_of_its_mail(declare: Declare, see: See) -> None:
    ask = "SELECT account_id, username, retention FROM v1.retention WHERE username ~ '^(old|new)@'"
    rules = plans(retention={"read": 1209600})
    declare(desired(acme("old@acme.example"), plans=rules))
    ((number, username, _rules),) = see("vmail", ask)
    assert username == "old@acme.example"
    declare(desired(acme(account("new@acme.example", renamed_from="old")), plans=rules))
    assert see("vmail", ask) == [(number, "new@acme.example", {"read": 1209600})]


def test_an_old_address_is_free_for_somebody_else(declare: Declare, see: See) -> None:
    declare(desired(acme("old@acme.example")))
    new = account("new@acme.example", renamed_from="old")
    declare(desired(acme(new)))
    declare(desired(acme(new, "old@acme.example")))
    assert targets(see, "old@acme.example") == []
    assert recipient(see, "old@acme.example") == "OK"


def test_a_rename_and_back_leaves_no_loop(declare: Declare, see: See) -> None:
    declare(desired(acme("old@acme.example")))
    declare(desired(acme(account("new@acme.example", renamed_from="old"))))
    changes: Changes = declare(desired(acme(account("old@acme.example", renamed_from="new"))))
    assert changes.counts()["renamed"] == 1
    assert targets(see, "new@acme.example") == ["old@acme.example"]
    assert targets(see, "old@acme.example") == []


def test_no_old_address_where_the_plan_has_none(declare: Declare, see: See) -> None:
    declare(desired(acme("old@acme.example"), plans=plans(renamed_alias=None)))
    declare(desired(acme(account("new@acme.example", renamed_from="old")), plans=plans(renamed_alias=None)))
    assert recipient(see, "old@acme.example") is None


def own(see: See, address: str) -> str | None:
    """An account's other addresses, which its automatic reply accepts as recipients."""
    query = "SELECT autoreply_addresses FROM v1.mailbox(%s, %s)"
    found: str | None
    ((found,),) = see("dovecot", query, *address.split("@"))
    return found


def test_an_automatic_reply_knows_the_accounts_other_addresses(declare: Declare, see: See) -> None:
    away: dict[str, Any] = {"autoreply": Autoreply("Away.")}
    declare(desired(acme(account("old@acme.example", **away), domains=["before.example", "acme.example"])))
    wanted = acme(
        account("ken@acme.example", renamed_from="old", **away),
        account("eve@acme.example", **away),
        alias("k.1@acme.example", "ken@acme.example"),
        alias("both@acme.example", "ken@acme.example", "jiro@acme.example"),
        alias("k@after.example", "ken@acme.example"),
        alias("j@acme.example", "jiro@acme.example"),
        domains=["after.example", "acme.example"],
    )
    wanted.domains["after.example"].renamed_from = "before.example"
    foreign = tenant("bolt", alias("k@bolt.example", "ken@acme.example"))
    declare(desired(wanted, foreign))
    assert own(see, "ken@acme.example") == "k@after[.]example|k[.]1@acme[.]example|old@acme[.]example"
    assert own(see, "eve@acme.example") is None
    assert own(see, "jiro@acme.example") is None
    many = [alias(f"alias{number:03}@acme.example", "ken@acme.example") for number in range(100)]
    declare(desired(acme(account("ken@acme.example", **away), *many, domains=["after.example", "acme.example"])))
    assert len(own(see, "ken@acme.example") or "") in range(450, 501)


def test_an_automatic_reply_knows_the_old_name_of_its_domain(declare: Declare, see: See) -> None:
    away: dict[str, Any] = {"autoreply": Autoreply("Away.")}
    declare(desired(tenant("acme", account("ken@a.example", **away), domains=["a.example"])))
    wanted = tenant("acme", account("ken@b.example", **away), domains=["b.example"])
    wanted.domains["b.example"].renamed_from = "a.example"
    declare(desired(wanted))
    assert own(see, "ken@b.example") == "ken@a[.]example"


@pytest.mark.parametrize(
    ("start", "end", "answers"),
    [(None, None, True), (-5, None, True), (60, None, False), (None, 60, True), (None, -5, False), (-60, 60, True)],
)
def test_an_automatic_reply_is_there_in_its_time_only(
    declare: Declare, see: See, start: int | None, end: int | None, answers: bool
) -> None:
    """Seconds from now; the end is the first second without a reply."""
    now = int(time.time())
    begins, ends = (None if offset is None else now + offset for offset in (start, end))
    declare(desired(acme(account("ken@acme.example", autoreply=Autoreply("Away.", start=begins, end=ends)))))
    query = "SELECT autoreply_body FROM v1.mailbox(%s, %s)"
    assert see("dovecot", query, "ken", "acme.example") == [("Away." if answers else None,)]


def test_an_automatic_reply_ends_at_its_second(declare: Declare, see: See) -> None:
    end = int(time.time())
    declare(desired(acme(account("ken@acme.example", autoreply=Autoreply("Away.", start=end)))))
    assert see("dovecot", "SELECT autoreply_body FROM v1.mailbox('ken', 'acme.example')") == [("Away.",)]
    declare(desired(acme(account("ken@acme.example", autoreply=Autoreply("Away.", end=end)))))
    assert see("dovecot", "SELECT autoreply_body FROM v1.mailbox('ken', 'acme.example')") == [(None,)]
