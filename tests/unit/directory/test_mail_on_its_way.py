# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accepted mail is delivered to the account it was accepted for, despite renames, moves and closing meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import (
    QUEUE_DOMAIN,
    Account,
    Alias,
    Desired,
    Tenant,
)
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Store

from .build import PLANS, account, alias, desired, forward, tenant
from .conftest import Declare, See

#: Returns the id of the account that has an address now.
Identity = Callable[[str], int]

ENDED = {"basic": {**PLANS["basic"], "renamed_alias": None, "renamed_domain": None}}
KEPT = {"basic": PLANS["basic"]}


def accepted(see: See, address: str) -> list[str]:
    """The recipients that cleanup(8) puts into the queue; an unknown address of ours stays as it is."""
    local_part, _at, domain = address.rpartition("@")
    name, plus, extension = local_part.partition("+")
    found = [text for (text,) in see("postfix", "SELECT * FROM v1.queued_as(%s, %s)", name.strip('"'), domain)]
    queue = []
    for text in found:
        before, _at, after = text.rpartition("@")
        goes_to = f"{before}{plus}{extension}@{after}"
        ends = goes_to.endswith(f".{QUEUE_DOMAIN}") or goes_to == address
        queue += [goes_to] if ends else accepted(see, goes_to)
    return sorted(queue) or [address]


def arrives(see: See, queued: str) -> tuple[int, str] | None:
    """The account to which Dovecot's LMTP delivers a queued recipient, and its username; None: unknown user."""
    local_part, _at, domain = queued.removesuffix(f".{QUEUE_DOMAIN}").rpartition("@")
    name = local_part.partition("+")[0].strip('"').lower()
    found = see("dovecot", "SELECT home, username FROM v1.mailbox(%s, %s, %s)", name, domain.lower(), domain)
    return (int(found[0][0].partition("/")[2]), found[0][1]) if found else None


@pytest.fixture
def identity(store: Store) -> Identity:
    return lambda address: store.load().accounts[address].id


def acme(*items: Account | Alias | str, domains: list[str] | None = None, **attributes: Any) -> Tenant:
    return tenant("acme", *items, domains=domains, **attributes)


def renamed(domain: str, *items: Account | Alias | str) -> Tenant:
    result = acme(*items, domains=[domain])
    result.domains[domain].renamed_from = "acme.example"
    return result


def with_catch_all(target: str, *items: Account | Alias | str) -> Tenant:
    result = acme(*items)
    result.domains["acme.example"].catch_all = target
    return result


OTHERS = ("jiro@acme.example",)
BEFORE = acme(
    "old@acme.example",
    *OTHERS,
    account("ken@acme.example", forward=forward("x@home.example")),
    alias("sales@acme.example", "old@acme.example"),
    alias("both@acme.example", "old@acme.example", "jiro@acme.example"),
)


def test_what_the_queue_has_is_what_people_know_and_more(declare: Declare, see: See) -> None:
    declare(desired(BEFORE))
    assert accepted(see, "old@acme.example") == ["old@acme.example.mailbox.invalid"]
    assert accepted(see, "old+box@acme.example") == ["old+box@acme.example.mailbox.invalid"]
    assert accepted(see, "sales+box@acme.example") == ["old+box@acme.example.mailbox.invalid"]
    assert accepted(see, "ken@acme.example") == ["ken@acme.example.mailbox.invalid", "x@home.example"]
    assert accepted(see, "nobody@acme.example") == ["nobody@acme.example"]


def test_nobody_writes_to_what_the_queue_has(declare: Declare, see: See) -> None:
    declare(desired(BEFORE))
    found = see("postfix", "SELECT * FROM v1.recipient('old', 'acme.example.mailbox.invalid')")
    assert found == [("550 5.1.1 User unknown",)]


def test_a_local_part_that_wants_quotes_has_them(declare: Declare, see: See) -> None:
    declare(desired(acme("12:30@acme.example")))
    assert accepted(see, '"12:30"@acme.example') == ['"12:30"@acme.example.mailbox.invalid']
    assert arrives(see, '"12:30"@acme.example.mailbox.invalid') == (1, "12:30@acme.example")


def test_a_domain_that_is_too_long_for_more_is_left_as_it_is(declare: Declare, see: See) -> None:
    longest, longer = (f"{'a.' * 115}{rest}.example" for rest in ("b", "bb"))
    declare(desired(acme(f"x@{longest}", f"x@{longer}", domains=[longest, longer])))
    assert accepted(see, f"x@{longest}") == [f"x@{longest}.{QUEUE_DOMAIN}"]
    assert len(f"{longest}.{QUEUE_DOMAIN}") == 255
    assert accepted(see, f"x@{longer}") == [f"x@{longer}"]


#: What happens to the account old@acme.example, and its address afterwards, if it has one.
CHANGES: dict[str, tuple[Desired, str | None]] = {
    "renamed": (desired(acme(account("new@acme.example", renamed_from="old"), *OTHERS)), "new@acme.example"),
    "domain renamed": (desired(renamed("new.example", "old@new.example", "jiro@new.example")), "old@new.example"),
    "both renamed": (
        desired(renamed("new.example", account("new@new.example", renamed_from="old"), "jiro@new.example")),
        "new@new.example",
    ),
    "old name somebody else's": (
        desired(
            acme(account("new@acme.example", renamed_from="old"), *OTHERS, account("old@acme.example", restore=False))
        ),
        "new@acme.example",
    ),
    "old name an alias": (
        desired(
            acme(
                account("new@acme.example", renamed_from="old"), *OTHERS, alias("old@acme.example", "jiro@acme.example")
            )
        ),
        "new@acme.example",
    ),
    "suspended": (desired(acme(account("old@acme.example", state="suspended"), *OTHERS)), "old@acme.example"),
    "no_login": (desired(acme(account("old@acme.example", state="no_login"), *OTHERS)), "old@acme.example"),
    "tenant suspended": (desired(acme("old@acme.example", *OTHERS, state="suspended")), "old@acme.example"),
    "forwarded": (
        desired(acme(account("old@acme.example", forward=forward("x@y.example", keep=False)), *OTHERS)),
        "old@acme.example",
    ),
    "closed": (desired(acme(*OTHERS)), None),
    "closed, and a new one later": (
        desired(acme(account("old@acme.example", restore=False), *OTHERS)),
        None,
    ),
    "tenant closed": (desired(acme(state="closed")), None),
}


@pytest.mark.parametrize("plans", [KEPT, ENDED], ids=["old names kept", "old names end at once"])
@pytest.mark.parametrize("change", CHANGES)
def test_it_arrives_where_it_was_accepted_for(
    declare: Declare, see: See, identity: Identity, change: str, plans: dict[str, Any]
) -> None:
    wanted, address = CHANGES[change]
    declare(Desired(plans, desired(BEFORE).tenants))
    number = identity("old@acme.example")
    queued = [text for name in ("old", "sales", "old+box") for text in accepted(see, f"{name}@acme.example")]
    assert [arrives(see, recipient) for recipient in queued] == [(number, "old@acme.example")] * 3
    if change == "closed, and a new one later":
        declare(Desired(plans, desired(acme(*OTHERS)).tenants), purge=True, expect_closed=2)
    expected = {"closed": 2, "tenant closed": 3}.get(change)
    declare(Desired(plans, wanted.tenants), purge=True, expect_closed=expected)
    username = address or f"old@acme.example.{number}.mailbox.invalid"
    assert [arrives(see, recipient) for recipient in queued] == [(number, username)] * 3


def test_mail_for_the_new_holder_of_a_name_is_the_new_holders(declare: Declare, see: See, identity: Identity) -> None:
    declare(desired(BEFORE))
    number, for_old = identity("old@acme.example"), accepted(see, "old@acme.example")
    declare(CHANGES["old name somebody else's"][0])
    (for_new,) = accepted(see, "old@acme.example")
    # Only Dovecot tells them apart: domains are compared without case.
    assert for_new.lower() == for_old[0]
    assert arrives(see, for_new) == (identity("old@acme.example"), "old@acme.example")
    assert [arrives(see, recipient) for recipient in for_old] == [(number, "new@acme.example")]
    declare(desired(acme(account("newer@acme.example", renamed_from="old"), "new@acme.example")))
    assert arrives(see, for_new) == (identity("newer@acme.example"), "newer@acme.example")
    # The first holder gets its name back, and its mark.
    declare(desired(acme("newer@acme.example", account("old@acme.example", renamed_from="new"))))
    assert accepted(see, "old@acme.example") == for_old


def test_names_that_were_had_by_many(declare: Declare, see: See) -> None:
    """a.jp has room for eight marks; after that the longest gone holder is forgotten."""
    declare(desired(acme("old@a.jp", domains=["a.jp"])))
    queued = []
    for number in range(1, 10):
        queued += accepted(see, "old@a.jp")
        assert arrives(see, queued[-1]) == (number, "old@a.jp")
        declare(
            desired(
                acme(
                    account(f"n{number}@a.jp", renamed_from="old"),
                    account("old@a.jp", restore=False),
                    *(f"n{before}@a.jp" for before in range(1, number)),
                    domains=["a.jp"],
                )
            )
        )
    found = [arrives(see, recipient) for recipient in queued]
    assert found[2:8] == [(number, f"n{number}@a.jp") for number in range(3, 9)]
    assert len(set(queued[:8])) == 8


def test_what_is_for_an_account_that_is_gone_is_nobodys(declare: Declare, see: See, identity: Identity) -> None:
    declare(desired(BEFORE))
    queued = accepted(see, "old@acme.example")
    declare(desired(acme(*OTHERS)), grace=0, purge=True, expect_closed=2)
    assert [arrives(see, recipient) for recipient in queued] == [None]
    for (number,) in see("vmail", "SELECT account_id FROM v1.expired_mailbox"):
        see("vmail", "SELECT v1.forget_mailbox(%s)", number)
    declare(desired(acme("old@acme.example", *OTHERS)))
    assert [arrives(see, recipient) for recipient in queued] == [None]
    assert arrives(see, *accepted(see, "old@acme.example")) == (identity("old@acme.example"), "old@acme.example")


def test_a_closed_account_that_is_restored_has_its_name_again(declare: Declare, see: See, identity: Identity) -> None:
    declare(desired(BEFORE))
    number = identity("old@acme.example")
    queued = accepted(see, "old@acme.example")
    declare(desired(acme(*OTHERS)), purge=True, expect_closed=2)
    declare(desired(acme(account("old@acme.example", restore=True), *OTHERS)))
    assert accepted(see, "old@acme.example") == queued
    assert arrives(see, *queued) == (number, "old@acme.example")


def test_targets_that_change_change_nothing_for_what_was_accepted(declare: Declare, see: See) -> None:
    items: list[Account | Alias | str] = ["old@acme.example", *OTHERS, *BEFORE.aliases.values()]
    forwarded = account("ken@acme.example", forward=forward("x@home.example"))
    declare(desired(with_catch_all("old@acme.example", *items, forwarded)))
    queued = {name: accepted(see, f"{name}@acme.example") for name in ("both", "whoever", "ken")}
    declare(desired(with_catch_all("jiro@acme.example", "old@acme.example", *OTHERS, "ken@acme.example")))
    found = {name: [arrives(see, text) for text in queue] for name, queue in queued.items()}
    assert {name: [user and user[1] for user in users] for name, users in found.items()} == {
        "both": ["jiro@acme.example", "old@acme.example"],
        "whoever": ["old@acme.example"],
        "ken": ["ken@acme.example", None],  # x@home.example, as it was
    }


def test_mail_of_a_queue_before_this_release_goes_by_its_name(declare: Declare, see: See, identity: Identity) -> None:
    declare(desired(BEFORE))
    number = identity("old@acme.example")
    assert arrives(see, "old@acme.example") == arrives(see, "old@ACME.Example") == (number, "old@acme.example")
    declare(CHANGES["old name somebody else's"][0])
    assert arrives(see, "old@acme.example") == arrives(see, "old@ACME.Example") == (number, "new@acme.example")
    assert arrives(see, "nobody@acme.example") is None


def test_a_login_goes_by_the_name_that_it_has_now(declare: Declare, see: See, identity: Identity) -> None:
    declare(desired(BEFORE))
    number = identity("old@acme.example")
    declare(CHANGES["old name somebody else's"][0])
    ((home,),) = see("dovecot", "SELECT home FROM v1.mailbox('old', 'acme.example')")
    assert int(home.partition("/")[2]) == identity("old@acme.example") != number


@pytest.mark.parametrize("domain", ["acme.example", "1.jp", "xn--eckwd4c7c.xn--zckzah", "a-b.c0.example"])
def test_every_mark_is_read_as_it_was_written(see: See, domain: str) -> None:
    ((room,),) = see("mailhosting", "SELECT directory.marks(%s)", domain)
    rows = see("mailhosting", "SELECT m, v1.marked(%s, m) FROM generate_series(0, %s - 1) m", domain, room)
    read = see("dovecot", "SELECT v1.mark_of(text), text FROM unnest(%s::text[]) text", [text for _mark, text in rows])
    assert sorted(read) == sorted(rows)
    assert {text.lower() for _mark, text in rows} == {domain}
    assert rows[0][1] == domain


def test_a_domain_without_capitals_is_not_searched_for_a_mark(declare: Declare, see: See, store: Store) -> None:
    """PostgreSQL plans that function anew at each call, which took as long as the rest of a delivery's lookup."""
    declare(desired(BEFORE))
    store.connection.execute("REVOKE EXECUTE ON FUNCTION v1.mark_of FROM dovecot")
    assert arrives(see, f"old@acme.example.{QUEUE_DOMAIN}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        arrives(see, f"old@Acme.example.{QUEUE_DOMAIN}")
