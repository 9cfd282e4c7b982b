# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a notice is queued, who may queue one, and how it ends."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import gate, views
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Store
from psycopg import Notify

from .build import MEBIBYTE, PLANS, account, alias, desired, forward, tenant
from .conftest import Declare, See

TARO = "taro@acme.example"
QUOTA = 20 * MEBIBYTE
SENDER = "mailhosting-notices"
FUNCTIONS = {
    "add_notice('x', NULL, NULL, '{}', 'x')": {gate.USER},
    "gate_warn('virus_sent', ARRAY[1], ARRAY[NULL]::bigint[], '{}', 'x')": {gate.USER},
    "record_crossing('taro', 'acme.example', 'over', 90)": {"vmail"},
    "quota_rechecks()": {"vmail"},
    "compare_quotas('{}')": {"vmail"},
    "due_notices()": {SENDER},
    "next_notice()": {SENDER},
    "notice_reached(1, 'x')": {SENDER},
    "notice_put_off(1, 5)": {SENDER},
    "notice_ended(1, true)": {SENDER},
    "forget_notices(90)": {SENDER},
    "note_quota(1, 90, NULL, NULL)": set(),
}


@pytest.fixture
def acme(declare: Declare) -> None:
    declare(desired(tenant("acme", TARO, contacts={"technical": TARO})))


def cross(see: See, direction: str, percent: int, address: str = TARO) -> None:
    see("vmail", "SELECT v1.record_crossing(%s, %s, %s, %s)", *address.split("@"), direction, percent)


def use(see: See, percent: float, address: str = TARO, quota: int = QUOTA) -> None:
    usage = json.dumps({address: int(quota / 1024 * percent / 100)})
    see("vmail", "SELECT v1.compare_quotas(%s::jsonb)", usage)


def queued(see: See) -> list[tuple[Any, ...]]:
    """(kind, percent) of all notices, oldest first."""
    return see("mailhosting", "SELECT kind, (facts ->> 'percent')::integer FROM directory.notice ORDER BY id")


def due(see: See) -> list[tuple[Any, ...]]:
    return see(SENDER, "SELECT id, kind, account, contact, direct, reached FROM v1.due_notices()")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("daemon", views.DAEMONS)
def test_who_may_call_what(see: See, daemon: str, function: str) -> None:
    if daemon in FUNCTIONS[function]:
        see(daemon, f"SELECT v1.{function}")
    else:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            see(daemon, f"SELECT v1.{function}")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([("over", 90)], [("quota_warning", 90)]),
        ([("over", 100)], [("quota_exceeded", 100)]),
        ([("over", 90), ("over", 90)], [("quota_warning", 90)]),
        ([("over", 90), ("over", 100)], [("quota_warning", 90), ("quota_exceeded", 100)]),
        # Two reports in the wrong order.
        ([("over", 100), ("over", 90)], [("quota_exceeded", 100)]),
        ([("over", 100), ("under", 100)], [("quota_exceeded", 100), ("quota_under", 100)]),
        ([("over", 100), ("under", 90)], [("quota_exceeded", 100), ("quota_under", 90)]),
        ([("over", 100), ("under", 90), ("under", 100)], [("quota_exceeded", 100), ("quota_under", 90)]),
        ([("under", 90), ("under", 100)], []),
        (
            [("over", 90), ("under", 90), ("over", 90)],
            [("quota_warning", 90), ("quota_under", 90), ("quota_warning", 90)],
        ),
    ],
)
@pytest.mark.usefixtures("acme")
def test_a_crossing_is_told_once(see: See, steps: list[tuple[str, int]], expected: list[tuple[str, int]]) -> None:
    for direction, percent in steps:
        cross(see, direction, percent)
    assert queued(see) == expected


@pytest.mark.usefixtures("acme")
def test_who_crosses_all_day_is_told_for_a_while(see: See) -> None:
    for _time in range(20):
        cross(see, "over", 90)
        cross(see, "under", 90)
    assert len(queued(see)) == 24
    see("mailhosting", "UPDATE directory.notice SET created_at = now() - interval '25 hours' RETURNING id")
    cross(see, "over", 100)
    assert queued(see)[24:] == [("quota_exceeded", 100)]


@pytest.mark.parametrize(
    ("thresholds", "over", "expected"),
    [
        ([80], 90, [("quota_warning", 80)]),
        ([100], 90, []),
        ([], 100, []),
        ([50, 75, 95], 90, [("quota_warning", 75)]),
    ],
)
def test_thresholds_are_those_of_the_plan(
    declare: Declare, see: See, thresholds: list[int], over: int, expected: list[tuple[str, int]]
) -> None:
    """Dovecot reports the thresholds of all plans of the host."""
    declare(desired(tenant("acme", TARO, overrides={"quota_warnings": thresholds})))
    cross(see, "over", over)
    assert queued(see) == expected


@pytest.mark.usefixtures("acme")
def test_what_is_told(see: See) -> None:
    cross(see, "over", 90)
    ((kind, facts, tenant_name, language, who, contact),) = see(
        SENDER, "SELECT kind, facts, tenant, language, account, contact FROM v1.due_notices()"
    )
    assert (kind, tenant_name, language, who, contact) == ("quota_warning", "acme", "en", TARO, TARO)
    assert facts == {"account": TARO, "percent": 90, "quota": QUOTA}


@pytest.mark.usefixtures("acme")
def test_usage_is_compared_like_crossings(see: See) -> None:
    for percent in (10, 89.9, 90, 91, 99.9, 130, 110, 89, 10):
        use(see, percent)
    assert queued(see) == [("quota_warning", 90), ("quota_exceeded", 100), ("quota_under", 90)]


@pytest.mark.usefixtures("acme")
def test_what_dovecot_has_said_is_not_undone_by_a_rounded_figure(see: See) -> None:
    cross(see, "over", 90)
    see("vmail", "SELECT v1.compare_quotas(%s::jsonb)", json.dumps({TARO: QUOTA * 9 // 10 // 1024}))
    see("mailhosting", "UPDATE directory.account SET quota = quota RETURNING id")
    assert queued(see) == [("quota_warning", 90)]


@pytest.mark.usefixtures("acme")
def test_nothing_is_remembered_of_mailboxes_with_room(see: See) -> None:
    use(see, 50)
    cross(see, "under", 90)
    assert see("mailhosting", "SELECT FROM directory.quota_level") == []


def wanted(see: See) -> set[str]:
    return {username for (username,) in see("vmail", "SELECT username FROM v1.quota_rechecks()")}


def test_a_changed_quota_has_its_accounts_compared(declare: Declare, see: See) -> None:
    jiro, bill = "jiro@acme.example", "bill@bolt.example"
    own: dict[str, Any] = {"overrides": {"mailbox_quota": QUOTA}}
    declare(desired(tenant("acme", TARO, jiro), tenant("bolt", bill, **own)))
    assert wanted(see) == set()

    declare(desired(tenant("acme", account(TARO, quota=MEBIBYTE), jiro), tenant("bolt", bill, **own)))
    assert wanted(see) == {TARO}
    use(see, 120, quota=MEBIBYTE)
    assert wanted(see) == set()
    assert queued(see) == [("quota_exceeded", 100)]

    smaller = {"basic": {**PLANS["basic"], "mailbox_quota": MEBIBYTE}}
    declare(desired(tenant("acme", account(TARO, quota=MEBIBYTE), jiro), tenant("bolt", bill, **own), plans=smaller))
    assert wanted(see) == {TARO, jiro, bill}
    for address in (TARO, jiro, bill):
        use(see, 10, address)
    declare(
        desired(
            tenant("acme", TARO, jiro, overrides={"quota_warnings": [50]}), tenant("bolt", bill, **own), plans=smaller
        )
    )
    assert wanted(see) == {TARO, jiro}


@pytest.mark.parametrize("change", [{"language": "ja"}, {"state": "no_login"}, {"overrides": {"max_accounts": 7}}])
def test_other_changes_do_not(declare: Declare, see: See, change: dict[str, Any]) -> None:
    declare(desired(tenant("acme", TARO)))
    declare(desired(tenant("acme", TARO, **change)))
    declare(desired(tenant("acme", account(TARO, state="suspended"), **change)))
    assert wanted(see) == set()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"mailbox_quota": None}, []),
        ({"quota_warnings": []}, []),
        ({"quota_warnings": [95]}, []),
        ({"mailbox_quota": 2 * QUOTA}, [("quota_under", 90)]),
    ],
)
def test_who_falls_under_a_threshold_that_is_no_more_is_not_told(
    declare: Declare, see: See, overrides: dict[str, Any], expected: list[tuple[str, int]]
) -> None:
    declare(desired(tenant("acme", TARO)))
    use(see, 92)
    declare(desired(tenant("acme", TARO, overrides=overrides)))
    use(see, 92)
    assert queued(see) == [("quota_warning", 90), *expected]


def test_who_has_a_quota_and_thresholds_is_told_when_all_are_compared(declare: Declare, see: See) -> None:
    declare(
        desired(
            tenant("acme", TARO, account("jiro@acme.example", quota=None)),
            tenant("bolt", "bill@bolt.example", overrides={"quota_warnings": []}),
            tenant("free", account("a@free.example", quota=1), "b@free.example", plan="large"),
        )
    )
    for (username,) in see("vmail", "SELECT username FROM v1.usage_account"):
        use(see, 200, username)
    told = see("mailhosting", "SELECT facts ->> 'account' FROM directory.notice ORDER BY 1")
    assert told == [("a@free.example",), (TARO,)]


def test_a_closed_account_is_nobodys_concern(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", account(TARO, quota=MEBIBYTE), "jiro@acme.example")))
    declare(desired(tenant("acme", TARO, "jiro@acme.example")))
    declare(desired(tenant("acme", "jiro@acme.example")), purge=True)
    assert wanted(see) == set()
    cross(see, "over", 90)
    assert queued(see) == []


@pytest.mark.parametrize(
    ("taro", "contact", "expected"),
    [
        (account(TARO), TARO, (TARO, TARO, True)),
        (account(TARO), "taro+admin@acme.example", (TARO, "taro+admin@acme.example", True)),
        (account(TARO), "x@elsewhere.example", (TARO, "x@elsewhere.example", False)),
        (account(TARO, forward=forward("x@elsewhere.example")), TARO, (TARO, TARO, False)),
        (account(TARO, state="suspended"), TARO, (None, None, False)),
        (account(TARO), None, (TARO, None, False)),
    ],
)
def test_where_it_goes(
    declare: Declare, see: See, taro: Any, contact: str | None, expected: tuple[str | None, str | None, bool]
) -> None:
    declare(desired(tenant("acme", taro, contacts={"technical": contact} if contact else {})))
    cross(see, "over", 90)
    assert [row[2:5] for row in due(see)] == [expected]


@pytest.mark.parametrize(
    ("changes", "contact", "unread"),
    [
        ({}, "jiro@acme.example", False),
        ({"jiro": {"state": "no_login"}}, "jiro@acme.example", True),
        ({"jiro": {"state": "no_login", "forward": forward("x@elsewhere.example")}}, "jiro@acme.example", False),
        ({"jiro": {"state": "suspended"}}, None, True),
        ({"contact": "office@acme.example", "jiro": {"state": "no_login"}}, "office@acme.example", True),
        ({"contact": "office@acme.example", "jiro": {"state": "suspended"}}, None, True),
        ({"contact": "x@elsewhere.example", "state": "no_login"}, "x@elsewhere.example", False),
        ({"state": "no_login"}, "jiro@acme.example", True),
    ],
)
def test_a_contact_whom_nobody_can_be_is_known_as_that(
    declare: Declare, see: See, changes: dict[str, Any], contact: str | None, unread: bool
) -> None:
    jiro = account("jiro@acme.example", **changes.get("jiro", {}))
    office = alias("office@acme.example", "jiro@acme.example")
    contacts = {"technical": changes.get("contact", "jiro@acme.example")}
    declare(desired(tenant("acme", TARO, jiro, office, contacts=contacts, state=changes.get("state", "active"))))
    cross(see, "over", 90)
    assert see(SENDER, "SELECT contact, unread FROM v1.due_notices()") == [(contact, unread)]


def test_a_notice_names_the_account_as_it_is_called_now(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", TARO)))
    query = "SELECT v1.add_notice('limit_pause', ac.tenant_id, ac.id, %s, %s) FROM directory.account ac"
    see("mailhosting", query, '{"account": null, "count": 5}', "a")
    see(gate.USER, "SELECT v1.add_notice('limit_pause', NULL, NULL, %s, 'b')", '{"account": null}')
    declare(desired(tenant("acme", account("jiro@acme.example", renamed_from="taro"))))
    told = [facts for (facts,) in see(SENDER, "SELECT facts FROM v1.due_notices() ORDER BY id")]
    assert told == [{"account": "jiro@acme.example", "count": 5}, {"account": None}]


@pytest.mark.usefixtures("acme")
def test_the_queue(see: See) -> None:
    for once in ("a", "a", "b"):
        see(gate.USER, "SELECT v1.add_notice('bulk_mail', NULL, NULL, '{}', %s)", once)
    (first, *_), (second, *_) = due(see)
    see(SENDER, "SELECT v1.notice_reached(%s, 'x@y.example')", first)
    assert [row[5] for row in due(see)] == [["x@y.example"], []]
    see(SENDER, "SELECT v1.notice_put_off(%s, 60)", first)
    assert [row[0] for row in due(see)] == [second]
    assert see(SENDER, "SELECT v1.next_notice()") == [(0,)]
    see("mailhosting", "UPDATE directory.notice SET due_at = now() RETURNING id")
    assert [attempts for (attempts,) in see(SENDER, "SELECT attempts FROM v1.due_notices() ORDER BY id")] == [1, 0]
    see(SENDER, "SELECT v1.notice_ended(%s, true)", first)
    see(SENDER, "SELECT v1.notice_ended(%s, false)", second)
    assert due(see) == []
    assert see(SENDER, "SELECT v1.next_notice()") == [(None,)]
    see(gate.USER, "SELECT v1.add_notice('bulk_mail', NULL, NULL, '{}', 'c')")
    see(SENDER, "SELECT v1.notice_put_off(id, 60) FROM v1.due_notices()")
    ((seconds,),) = see(SENDER, "SELECT v1.next_notice()")
    assert 55 < seconds <= 60
    # An ended notice is remembered, so its `once` queues no second one.
    see(gate.USER, "SELECT v1.add_notice('bulk_mail', NULL, NULL, '{}', 'a')")
    assert due(see) == []


@pytest.mark.usefixtures("acme")
def test_what_was_sent_is_forgotten_in_time_and_what_waits_never(see: See) -> None:
    for once in ("sent", "given up", "new", "waits"):
        see(gate.USER, "SELECT v1.add_notice('bulk_mail', NULL, NULL, '{}', %s)", once)
    ids = [row[0] for row in due(see)]
    for number, sent in zip(ids[:3], (True, False, True), strict=True):
        see(SENDER, "SELECT v1.notice_ended(%s, %s)", number, sent)
    age = "UPDATE directory.notice SET {0} = {0} - interval '91 days' WHERE once = '{1}' RETURNING id"
    see("mailhosting", age.format("sent_at", "sent"))
    see("mailhosting", age.format("given_up_at", "given up"))
    see("mailhosting", age.format("created_at", "waits"))
    assert see(SENDER, "SELECT v1.forget_notices(90)") == [(2,)]
    assert see("mailhosting", "SELECT once FROM directory.notice ORDER BY id") == [("new",), ("waits",)]


@pytest.mark.usefixtures("acme")
def test_a_tenant_that_is_gone_gets_none(see: See) -> None:
    see(gate.USER, "SELECT v1.add_notice('limit_pause', 4711, NULL, '{}', 'x')")
    assert queued(see) == []
    see(gate.USER, "SELECT v1.add_notice('limit_pause', NULL, 4711, '{}', 'x')")
    assert queued(see) == [("limit_pause", None)]


def test_whoever_waits_is_woken(store: Store, see: See, declare: Declare) -> None:
    declare(desired(tenant("acme", TARO)))
    woken: list[Notify] = []
    store.connection.add_notify_handler(woken.append)
    store.connection.execute("LISTEN mailhosting_notices")
    cross(see, "over", 90)
    store.connection.execute("SELECT 1")
    assert len(woken) == 1
    declare(desired(tenant("acme", account(TARO, quota=1))))
    assert len(woken) == 2


def test_thousands_of_mailboxes_are_compared_in_a_moment(store: Store, see: See) -> None:
    store.connection.execute(
        "INSERT INTO directory.plan VALUES ('basic', '{\"mailbox_quota\": 1048576}', 'inventory');"
        "INSERT INTO directory.tenant (name, plan, overrides, state, addresses_managed_by, origin)"
        " VALUES ('acme', 'basic', '{}', 'active', 'inventory', 'inventory');"
        "INSERT INTO directory.domain SELECT 'acme.example', id, '{}', NULL FROM directory.tenant;"
        "INSERT INTO directory.account (id, tenant_id, state)"
        " SELECT i, t.id, 'active' FROM directory.tenant t, generate_series(1, 5000) i;"
        "INSERT INTO directory.address"
        " SELECT 'user' || i, 'acme.example', 'account', i, NULL, 'inventory' FROM generate_series(1, 5000) i;"
    )
    usage = json.dumps({f"user{number}@acme.example": number % 1100 for number in range(1, 501)})
    plan = see("vmail", "EXPLAIN (ANALYZE, TIMING OFF) SELECT v1.compare_quotas(%s::jsonb)", usage)
    assert float(plan[-1][0].rpartition(": ")[2].split()[0]) < 2000
    store.connection.execute("ANALYZE")
    store.connection.execute("UPDATE directory.plan SET settings = '{\"mailbox_quota\": 1000}'")
    assert len(wanted(see)) == 5000


WARNS = "SELECT v1.gate_warn(%s, %s::bigint[], %s::bigint[], %s::jsonb, %s)"
FACTS = json.dumps({"count": 1, "virus": "Eicar"})


def warned(see: See) -> list[tuple[Any, ...]]:
    """Kind, account, count and whether it waits, of all warnings, oldest first."""
    return see(
        "mailhosting",
        "SELECT kind, account_id, (facts ->> 'count')::integer, due_at > now() + interval '59 minutes'"
        " FROM directory.notice ORDER BY id",
    )


@pytest.fixture
def people(declare: Declare, see: See) -> dict[str, int]:
    """Ids of the tenant acme and of its accounts; jiro is suspended."""
    jiro = account("jiro@acme.example", state="suspended")
    declare(desired(tenant("acme", TARO, "hanako@acme.example", jiro, contacts={"technical": TARO})))
    ids = see("mailhosting", "SELECT ad.local_part, ad.account_id FROM directory.address ad WHERE kind = 'account'")
    return {**dict(ids), "acme": see("mailhosting", "SELECT id FROM directory.tenant WHERE name = 'acme'")[0][0]}


def test_a_warning_goes_to_each_account_that_takes_mail_and_to_a_contact(see: See, people: dict[str, int]) -> None:
    who = [people["taro"], people["jiro"], None, 4711]
    see(gate.USER, WARNS, "virus_received", [people["acme"]] * 4, who, FACTS, "once")
    assert warned(see) == [("virus_received", people["taro"], 1, False), ("virus_received", None, 1, False)]
    rows = see(SENDER, "SELECT kind, account, contact, facts ->> 'account' FROM v1.due_notices() ORDER BY id")
    assert rows == [("virus_received", TARO, TARO, TARO), ("virus_received", None, TARO, None)]
    see(gate.USER, WARNS, "virus_received", [4711], [None], FACTS, "gone")
    assert len(warned(see)) == 2


def test_a_second_warning_within_an_hour_waits_and_counts_what_comes_meanwhile(
    see: See, people: dict[str, int]
) -> None:
    for number in range(5):
        see(gate.USER, WARNS, "virus_received", [people["acme"]], [people["taro"]], FACTS, f"mail {number}")
    taro = people["taro"]
    assert warned(see) == [("virus_received", taro, 1, False), ("virus_received", taro, 4, True)]
    # Others, and what the account sends, have hours of their own.
    see(gate.USER, WARNS, "virus_received", [people["acme"]], [people["hanako"]], FACTS, "hers")
    see(gate.USER, WARNS, "virus_sent", [people["acme"]], [taro], FACTS, "sent")
    assert warned(see)[2:] == [("virus_received", people["hanako"], 1, False), ("virus_sent", taro, 1, False)]


def test_a_warning_after_an_hour_is_sent_at_once(see: See, people: dict[str, int]) -> None:
    see(gate.USER, WARNS, "virus_sent", [people["acme"]], [None], FACTS, "first")
    see(
        "mailhosting",
        "UPDATE directory.notice SET due_at = due_at - interval '61 minutes', sent_at = now() RETURNING 1",
    )
    see(gate.USER, WARNS, "virus_sent", [people["acme"]], [None], FACTS, "second")
    assert warned(see) == [("virus_sent", None, 1, False)] * 2


def test_a_warning_that_could_not_be_delivered_yet_is_no_place_for_later_mail(see: See, people: dict[str, int]) -> None:
    see(gate.USER, WARNS, "virus_sent", [people["acme"]], [people["taro"]], FACTS, "first")
    see(SENDER, "SELECT v1.notice_put_off(id, 60) FROM v1.due_notices()")
    see(gate.USER, WARNS, "virus_sent", [people["acme"]], [people["taro"]], FACTS, "second")
    assert [row[2] for row in warned(see)] == [1, 1]


def test_one_warning_of_a_mail(see: See, people: dict[str, int]) -> None:
    for _attempt in range(2):
        see(gate.USER, WARNS, "virus_sent", [people["acme"]] * 2, [people["taro"]] * 2, FACTS, "once")
        see("mailhosting", "UPDATE directory.notice SET due_at = due_at - interval '61 minutes' RETURNING 1")
    assert [row[2] for row in warned(see)] == [1]
