# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows that each daemon reads: the right ones, no others, and by an index."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import gate, views
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import Hold, HoldOrder, Options
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import PLAN_DEFAULTS
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.reconcile import reconcile
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Store

from .build import HASH, MEBIBYTE, PLANS, account, alias, desired, forward, tenant
from .conftest import Declare, See

VIEWS = (
    "domain",
    "former_domain",
    "mailbox_recipient",
    "plain_mailbox",
    "queued_mailbox",
    "name_holder",
    "closed_mailbox",
    "alias",
    "all_member",
    "catch_all",
    "recipient_refusal",
    "sender",
    "held_sender",
    "passdb",
    "legacy_passdb",
    "login_standing",
    "userdb",
    "expired_mailbox",
    "retention",
    "usage_account",
    "usage_tenant",
    "relay_login",
    "domain_member",
    "tenant_settings",
)
TABLES = (
    "plan",
    "tenant",
    "domain",
    "account",
    "address",
    "closed",
    "hold",
    "migration",
    "view_text",
    "standing",
    "sender",
    "hosted",
    "own_address",
    "former_address",
    "former_domain",
    "name_holder",
    "notice",
    "quota_level",
    "quota_recheck",
    "billing",
    "usage_now",
    "usage_day",
)
REFUSED = [(views.REFUSAL,)]


def look(see: See, user: str, column: str, view: str, address: str) -> list[Any]:
    query = f"SELECT {column} FROM v1.{view} WHERE local_part = %s AND domain = %s ORDER BY 1"  # noqa: S608
    return [value for (value,) in see(user, query, *address.split("@"))]


def aliases(see: See, address: str) -> list[str]:
    return look(see, "postfix", "target", "alias", address)


def refused(see: See, address: str) -> bool:
    found = look(see, "postfix", "reply", "recipient_refusal", address)
    assert found in ([], [views.REFUSAL])
    return bool(found)


def hold(
    store: Store, scope: str, address: str | None = None, tenant_name: str | None = None, **attributes: Any
) -> None:
    order = HoldOrder(address, tenant_name, (Hold(scope, "test", **attributes),))
    current = store.load()
    changes = reconcile(current, desired(plans=current.plans), Options(origin="module", holds=order))
    store.apply(changes, 0)


#: Repeated here on purpose: any further view that a daemon may read is an error here or there.
READABLE = {
    "dovecot": {"passdb", "legacy_passdb", "login_standing", "userdb", "name_holder", "closed_mailbox"},
    "mailhosting-gate": {"relay_login"},
    "mailhosting-policy": {"relay_login", "domain_member"},
    "postfix": {
        "alias",
        "all_member",
        "catch_all",
        "domain",
        "former_domain",
        "held_sender",
        "mailbox_recipient",
        "plain_mailbox",
        "queued_mailbox",
        "recipient_refusal",
        "sender",
    },
    "vmail": {"expired_mailbox", "retention", "usage_account", "usage_tenant"},
}


@pytest.mark.parametrize("daemon", views.DAEMONS)
@pytest.mark.parametrize("view", VIEWS)
def test_a_daemon_reads_its_own_views_and_no_others(see: See, daemon: str, view: str) -> None:
    if view in READABLE.get(daemon, ()):
        assert see(daemon, f"TABLE v1.{view}") == []
    else:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            see(daemon, f"TABLE v1.{view}")


@pytest.mark.parametrize("daemon", views.DAEMONS)
@pytest.mark.parametrize("table", TABLES)
def test_a_daemon_reads_no_table(see: See, daemon: str, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        see(daemon, f"TABLE directory.{table}")


@pytest.mark.parametrize("daemon", views.DAEMONS)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE public.mine (i int)",
        "CREATE TABLE v1.mine (i int)",
        "CREATE TEMPORARY TABLE mine (i int)",
        "DELETE FROM directory.closed",
        "DELETE FROM v1.expired_mailbox",
    ],
)
def test_a_daemon_writes_nothing(store: Store, see: See, daemon: str, statement: str) -> None:
    # The template's copy lacks what a database grants.
    store.connection.execute("REVOKE ALL ON DATABASE " + store.connection.info.dbname + " FROM PUBLIC")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        see(daemon, statement)


@pytest.mark.parametrize("daemon", ["postfix", "dovecot"])
def test_only_vmail_forgets_mailboxes(see: See, daemon: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        see(daemon, "SELECT v1.forget_mailbox(1)")


def test_an_account_as_the_daemons_see_it(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", account("taro@acme.example", password_hash=HASH))))
    assert see("postfix", "SELECT domain FROM v1.domain") == [("acme.example",)]
    assert see("postfix", "SELECT local_part, domain FROM v1.mailbox_recipient") == [("taro", "acme.example")]
    assert see("postfix", "SELECT * FROM v1.alias WHERE local_part = 'taro'") == []
    assert see("postfix", "SELECT * FROM v1.sender") == [("taro", "acme.example", "taro@acme.example")]
    assert not refused(see, "taro@acme.example")
    ((*passdb, since),) = see("dovecot", "SELECT * FROM v1.passdb")
    assert passdb == ["taro", "acme.example", "taro@acme.example", HASH, ["pop3s", "submission"], False, True]
    assert see("dovecot", "SELECT login_since FROM v1.login('taro', 'acme.example')") == [(since,)]
    (row,) = see("dovecot", "SELECT * FROM v1.userdb")
    number = row[3].rpartition("/")[2]
    home = f"{int(number) % 100:02}/{number}"
    assert row == ("taro", "acme.example", "taro@acme.example", home, 20 * MEBIBYTE, None, False, *[None] * 4)


@pytest.mark.parametrize(
    ("plan", "overrides", "quota", "bytes_"),
    [
        ("basic", {}, ..., 20 * MEBIBYTE),
        ("basic", {"mailbox_quota": 7}, ..., 7),
        ("basic", {"mailbox_quota": None}, ..., 0),
        ("basic", {"mailbox_quota": 7}, 8, 8),
        ("basic", {}, None, 0),
        ("large", {}, ..., 0),
        ("large", {}, 9, 9),
    ],
)
def test_the_nearest_quota_counts(
    declare: Declare, see: See, plan: str, overrides: dict[str, Any], quota: object, bytes_: int
) -> None:
    attributes: dict[str, Any] = {} if quota is ... else {"quota": quota}
    declare(desired(tenant("acme", account("taro@acme.example", **attributes), plan=plan, overrides=overrides)))
    assert see("dovecot", "SELECT quota_storage_size FROM v1.userdb") == [(bytes_,)]


def test_what_a_plan_limits_beside_the_quota_reaches_dovecot(declare: Declare, see: See) -> None:
    limits = {"max_messages": 9, "max_folders": 8, "max_filters": 7, "max_filters_size": 6 << 32}
    asked = f"SELECT {', '.join(limits)} FROM v1.mailbox('taro', 'acme.example')"  # noqa: S608 - names of the model
    declare(desired(tenant("acme", "taro@acme.example")))
    assert see("dovecot", asked) == [(None,) * 4]
    plans = {"basic": {**PLANS["basic"], **limits}}
    declare(desired(tenant("acme", "taro@acme.example", overrides={"max_folders": 5}), plans=plans))
    assert see("dovecot", asked) == [(9, 5, 7, 6 << 32)]


def test_a_changed_plan_is_seen_at_once(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", "taro@acme.example")))
    plans = {"basic": {**PLANS["basic"], "mailbox_quota": 1, "cleartext_auth": True}}
    declare(desired(tenant("acme", "taro@acme.example"), plans=plans))
    assert see("dovecot", "SELECT quota_storage_size FROM v1.userdb") == [(1,)]
    assert see("dovecot", "SELECT cleartext_auth FROM v1.passdb") == [(True,)]


def test_a_plan_that_says_nothing_has_the_defaults(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme"), plans={"basic": {}}))
    # These are read when an account is renamed, and when files are checked.
    unread = ("renamed_alias", "max_account_quota", "max_accounts", "max_forward_targets")
    keys = [key for key in PLAN_DEFAULTS if key not in unread]
    query = f"SELECT settings, {', '.join(keys)} FROM v1.tenant_settings"  # noqa: S608 - of the model
    ((settings, *columns),) = see("mailhosting", query)
    assert settings == PLAN_DEFAULTS
    assert columns == [PLAN_DEFAULTS[key] for key in keys]


RELAY = "SELECT username, pop_before_smtp FROM v1.relay_logins(%s, %s) ORDER BY 1"


@pytest.mark.parametrize(
    ("setting", "more"),
    [
        (1800, []),
        ({"for": 1800, "senders": "tenant"}, [("@acme.example", 1800), ("@acme.test", 1800)]),
    ],
)
def test_whose_login_opens_relaying_as_an_address(
    declare: Declare, see: See, setting: object, more: list[tuple[str, int]]
) -> None:
    shop = alias("shop@acme.test", "someone@far.example")
    members = account("taro@acme.example"), account("off@acme.example", state="suspended"), shop
    acme = tenant("acme", *members, domains=["acme.example", "acme.test"])
    declare(desired(acme, plans={"basic": {**PLANS["basic"], "pop_before_smtp": setting}}))
    for user in ("mailhosting-policy", "mailhosting-gate"):
        assert see(user, RELAY, "taro", "acme.example") == [*more, ("taro@acme.example", 1800)]
        assert see(user, RELAY, "shop", "acme.test") == more
        assert see(user, RELAY, "off", "acme.example") == []
        assert see(user, RELAY, "nobody", "acme.example") == []


def test_no_login_opens_relaying_by_itself(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", "taro@acme.example")))
    assert see("mailhosting-policy", RELAY, "taro", "acme.example") == []


@pytest.mark.parametrize(
    ("whose", "state", "receives", "sends", "logs_in"),
    [
        ("account", "active", True, True, True),
        ("account", "no_login", True, True, False),
        ("account", "suspended", False, False, False),
        ("tenant", "no_login", True, True, False),
        ("tenant", "suspended", False, False, False),
    ],
)
@pytest.mark.requirement("VM-6")
def test_what_a_state_leaves_allowed(
    declare: Declare, see: See, whose: str, state: str, receives: bool, sends: bool, logs_in: bool
) -> None:
    taro = account("taro@acme.example", state=state if whose == "account" else "active")
    declare(desired(tenant("acme", taro, state=state if whose == "tenant" else "active")))
    assert refused(see, "taro@acme.example") is not receives
    assert bool(see("postfix", "SELECT FROM v1.sender")) is sends
    assert see("dovecot", "SELECT may_login FROM v1.passdb") == [(logs_in,)]
    assert bool(see("postfix", "SELECT FROM v1.mailbox_recipient")) is receives
    assert len(see("dovecot", "SELECT FROM v1.userdb")) == 1


@pytest.mark.parametrize("on", ["account", "tenant"])
@pytest.mark.parametrize("scope", ["send", "receive", "login"])
@pytest.mark.parametrize("until", [None, 4102444800, 1])
def test_a_hold_stops_its_scope_until_it_ends(
    declare: Declare, store: Store, see: See, on: str, scope: str, until: int | None
) -> None:
    declare(desired(tenant("acme", "taro@acme.example", "jiro@acme.example")))
    on_taro = on == "account"
    hold(
        store,
        scope,
        address="taro@acme.example" if on_taro else None,
        tenant_name=None if on_taro else "acme",
        until=until,
    )
    stopped = "" if until == 1 else scope
    assert refused(see, "taro@acme.example") is (stopped == "receive")
    senders = [login for (login,) in see("postfix", "SELECT login FROM v1.sender")]
    assert ("taro@acme.example" in senders) is (stopped != "send")
    assert look(see, "dovecot", "may_login", "passdb", "taro@acme.example") == [stopped != "login"]
    assert refused(see, "jiro@acme.example") is (stopped == "receive" and not on_taro)


def test_targets_of_aliases_and_forwards(declare: Declare, see: See) -> None:
    declare(
        desired(
            tenant(
                "acme",
                "taro@acme.example",
                account("ken@acme.example", forward=forward("ken@home.example")),
                account("out@acme.example", forward=forward("out@home.example", keep=False)),
                alias("sales@acme.example", "taro@acme.example", "ken@acme.example", "partner@elsewhere.example"),
                alias("team@acme.example", "sales@acme.example", "taro+team@acme.example"),
            )
        )
    )
    assert aliases(see, "taro@acme.example") == []
    assert aliases(see, "ken@acme.example") == ["ken@acme.example", "ken@home.example"]
    assert aliases(see, "out@acme.example") == ["out@home.example"]
    assert aliases(see, "sales@acme.example") == ["ken@acme.example", "partner@elsewhere.example", "taro@acme.example"]
    assert aliases(see, "team@acme.example") == ["sales@acme.example", "taro+team@acme.example"]


def test_a_target_that_takes_no_mail_is_left_out(declare: Declare, see: See) -> None:
    suspended = account("taro@acme.example", state="suspended")
    both = alias("both@acme.example", "taro@acme.example", "jiro@acme.example", "x@elsewhere.example")
    only = alias("only@acme.example", "taro@acme.example")
    declare(desired(tenant("acme", suspended, "jiro@acme.example", both, only)))
    assert aliases(see, "both@acme.example") == ["jiro@acme.example", "x@elsewhere.example"]
    assert not refused(see, "both@acme.example")
    assert aliases(see, "only@acme.example") == []
    assert refused(see, "only@acme.example")


def test_aliases_of_a_suspended_tenant_are_refused(declare: Declare, see: See) -> None:
    declare(
        desired(
            tenant("acme", "taro@acme.example", alias("sales@acme.example", "taro@acme.example"), state="suspended")
        )
    )
    assert aliases(see, "sales@acme.example") == []
    assert refused(see, "sales@acme.example")


def test_who_may_send_as_an_alias(declare: Declare, see: See) -> None:
    declare(
        desired(
            tenant(
                "acme",
                "taro@acme.example",
                account("jiro@acme.example", state="suspended"),
                alias("sales@acme.example", "taro@acme.example", "jiro@acme.example", "bill@bolt.example"),
                alias("team@acme.example", "sales@acme.example"),
            ),
            tenant("bolt", "bill@bolt.example"),
        )
    )
    assert look(see, "postfix", "login", "sender", "sales@acme.example") == ["taro@acme.example"]
    assert look(see, "postfix", "login", "sender", "team@acme.example") == []
    assert look(see, "postfix", "login", "sender", "jiro@acme.example") == []


def test_a_closed_tenant_is_refused_while_mail_is_kept_and_then_forgotten(declare: Declare, see: See) -> None:
    taro = tenant("acme", "taro@acme.example", alias("sales@acme.example", "taro@acme.example"))
    declare(desired(taro))
    taro.state = "closed"
    declare(desired(taro), grace=0)
    assert see("postfix", "SELECT domain FROM v1.domain") == [("acme.example",)]
    assert refused(see, "taro@acme.example")
    assert refused(see, "sales@acme.example")
    assert see("postfix", "SELECT FROM v1.mailbox_recipient") == []
    assert see("postfix", "SELECT FROM v1.sender") == []
    assert see("dovecot", "SELECT FROM v1.passdb UNION ALL SELECT FROM v1.userdb") == []
    ((number,),) = see("vmail", "SELECT account_id FROM v1.expired_mailbox")
    see("vmail", "SELECT v1.forget_mailbox(%s)", number)
    assert see("vmail", "SELECT FROM v1.expired_mailbox") == []
    assert see("postfix", "SELECT domain FROM v1.domain") == []
    assert see("mailhosting", "SELECT FROM directory.account") == []


def test_a_mailbox_is_not_forgotten_before_its_time(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", "taro@acme.example", "jiro@acme.example")))
    declare(desired(tenant("acme", "jiro@acme.example")), purge=True)
    for (number,) in see("mailhosting", "SELECT id FROM directory.account"):
        see("vmail", "SELECT v1.forget_mailbox(%s)", number)
    assert len(see("mailhosting", "SELECT FROM directory.account")) == 2
    assert see("vmail", "SELECT FROM v1.expired_mailbox") == []


#: By daemon: a view, and a row that it has.
LOOKUPS = [
    ("postfix", "domain", "domain = 'd7.example'"),
    ("postfix", "domain", "domain = 'was7.example'"),
    ("postfix", "former_domain", "domain = 'was7.example'"),
    ("postfix", "mailbox_recipient", "local_part = 'user7' AND domain = 'd7.example'"),
    ("postfix", "plain_mailbox", "local_part = 'user7' AND domain = 'd7.example'"),
    ("postfix", "queued_mailbox", "local_part = 'user7' AND domain = 'd7.example'"),
    ("dovecot", "name_holder", "local_part = 'was7' AND domain = 'd7.example' AND mark = 0"),
    ("dovecot", "closed_mailbox", "account_id = 90007"),
    ("postfix", "catch_all", "domain = 'd7.example'"),
    ("postfix", "alias", "local_part = 'postmaster' AND domain = 'd7.example'"),
    ("mailhosting-policy", "relay_login", "local_part = 'user7' AND domain = 'd7.example'"),
    (
        "mailhosting-policy",
        "domain_member",
        "local_part = 'user7' AND domain = 'd7.example' AND recipient_domain = 'd10007.example'",
    ),
    (
        "mailhosting-policy",
        "domain_member",
        "local_part = 'user7' AND domain = 'd7.example' AND recipient_domain = 'was7.example'",
    ),
    ("postfix", "alias", "local_part = 'alias7' AND domain = 'd7.example'"),
    ("postfix", "sender", "local_part = 'user7' AND domain = 'd7.example'"),
    ("postfix", "sender", "local_part = 'alias7' AND domain = 'd7.example'"),
    ("postfix", "recipient_refusal", "local_part = 'user90007' AND domain = 'd10007.example'"),
    ("dovecot", "passdb", "local_part = 'user7' AND domain = 'd7.example'"),
    ("dovecot", "login_standing", "local_part = 'user7' AND domain = 'd7.example'"),
    ("dovecot", "legacy_passdb", "local_part = 'user7' AND domain = 'd7.example'"),
    ("dovecot", "userdb", "local_part = 'user7' AND domain = 'd7.example' AND autoreply ->> 'addresses' IS NOT NULL"),
    ("vmail", "expired_mailbox", "account_id = 90008"),
]

#: One call for each of a hundred addresses i.
CALLS = [
    "gate_owner('user' || i, 'd' || i || '.example')",
    "gate_destinations('user' || i, 'd' || i || '.example', 20000)",
    "gate_destinations('alias' || i, 'd' || i || '.example', 20000)",
    "gate_destinations('postmaster', 'was' || i || '.example', 20000)",
    "gate_destinations('user' || i, 'elsewhere.example', 20000)",
]

FILL = """
INSERT INTO directory.plan VALUES ('basic', '{"pop_before_smtp": 1800}', 'inventory');
INSERT INTO directory.tenant (name, plan, overrides, state, addresses_managed_by, contacts, origin)
    SELECT 't' || i, 'basic', '{}', 'active', 'inventory', '{"technical": "x@else.example"}', 'inventory'
    FROM generate_series(0, 9999) i;
INSERT INTO directory.domain
    SELECT 'd' || i || '.example', 1 + i % 10000, '{}', 'x@else.example' FROM generate_series(0, 19999) i;
INSERT INTO directory.former_domain
    SELECT 'was' || i || '.example', 'd' || i || '.example' FROM generate_series(0, 999) i;
INSERT INTO directory.account (id, tenant_id, state, password)
    SELECT i, 1 + i % 10000, 'active', 'x' FROM generate_series(1, 100000) i;
INSERT INTO directory.address
    SELECT 'user' || i, 'd' || i % 20000 || '.example', 'account', i, NULL, 'inventory'
    FROM generate_series(1, 90000) i;
INSERT INTO directory.address
    SELECT 'alias' || i, 'd' || i % 20000 || '.example', 'alias', NULL,
           ARRAY['user' || i || '@d' || i % 20000 || '.example'], 'inventory' FROM generate_series(1, 10000) i;
UPDATE directory.account SET autoreply = '{"body": "x"}' WHERE id = 7;
INSERT INTO directory.closed (account_id, local_part, domain, expires_at)
    SELECT i, 'user' || i, 'd' || i % 20000 || '.example', now() + interval '1 s' * (i % 2) * 999
    FROM generate_series(90001, 100000) i;
INSERT INTO directory.name_holder (domain, local_part, mark, account_id)
    SELECT 'd' || i % 20000 || '.example', 'was' || i, 0, i FROM generate_series(1, 20000) i;
ANALYZE;
"""


def explained(see: See, user: str, query: str) -> str:
    """The plan of an executed query, with its page reads: these do not depend on the load of the machine."""
    return "\n".join(line for (line,) in see(user, f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {query}"))


def pages(plan: str) -> int:
    """Pages of 8 kB, in memory or not, of the first node, which includes all others."""
    words = plan.partition("Buffers: shared ")[2].partition("\n")[0].split()
    return sum(int(word.partition("=")[2]) for word in words if word.startswith(("hit=", "read=")))


def test_every_lookup_reaches_its_row_by_an_index(store: Store, see: See) -> None:
    store.connection.execute(FILL)
    for user, view, condition in LOOKUPS:
        query = f"SELECT * FROM v1.{view} WHERE {condition}"  # noqa: S608 - of this file
        assert len(see(user, query)) == 1, query
        plan = explained(see, user, query)
        for table in ("account", "address", "domain", "former_domain", "name_holder", "tenant", "closed"):
            assert f"Seq Scan on {table} " not in plan, f"{query}\n{plan}"
        assert pages(plan) < 200, plan
    for call in CALLS:
        query = f"SELECT * FROM generate_series(1, 100) i, LATERAL v1.{call}"  # noqa: S608 - of this file
        assert len(see(gate.USER, query)) == 100, query
        # A query that reads every domain needs a thousand pages for each call.
        assert pages(plan := explained(see, gate.USER, query)) < 30_000, plan


def test_no_lookup_merges_all_keys_of_a_plan(see: See) -> None:
    """That took PostgreSQL longer than the rest of the lookup, and once more for each key that was read."""
    for user, view, condition in LOOKUPS:
        query = f"EXPLAIN (VERBOSE) SELECT * FROM v1.{view} WHERE {condition}"  # noqa: S608 - of this file
        plan = "\n".join(line for (line,) in see(user, query))
        assert not re.search(r"\|\| p(_\d+)?\.settings", plan), plan


def test_only_an_auto_reply_looks_for_other_addresses(declare: Declare, see: See) -> None:
    """Every login and delivery did, and it took most of their time in PostgreSQL."""
    declare(desired(tenant("acme", "taro@acme.example")))
    plan = explained(see, "dovecot", "SELECT * FROM v1.userdb WHERE local_part = 'taro' AND domain = 'acme.example'")
    assert "address" in plan
    assert "former_address" not in plan, plan
