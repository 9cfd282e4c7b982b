# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tenants' usage in the directory, what is billed, and who is over a new limit."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import psycopg
import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import views
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Account, Alias, Desired
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Store
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.usage import COUNTERS

from .build import HASH, MEBIBYTE, PLANS, account, alias, desired, tenant
from .conftest import Declare, Run, See

DAY = date(2026, 11, 22)
ACME = ("taro@acme.example", "hanako@acme.example")


def plans(**settings: Any) -> dict[str, dict[str, Any]]:
    return {**PLANS, "basic": {**PLANS["basic"], **settings}}


def look_up(store: Store) -> dict[str, int]:
    """Ids of accounts by address, and of tenants by name."""
    rows = store.connection.execute("SELECT name, id FROM directory.tenant").fetchall()
    return {**dict(rows), **{row.address: row.id for row in store.load().accounts.values()}}


def use(see: See, store: Store, **used: int) -> None:
    """Record bytes by local part at acme, as the service does."""
    numbers = look_up(store)
    by_id = {numbers[f"{name}@acme.example"]: size for name, size in used.items()}
    see("vmail", "SELECT v1.record_usage(%s)", json.dumps(by_id))


def count(see: See, store: Store, epoch: str, **counters: int) -> None:
    counted = json.dumps({look_up(store)["acme"]: counters})
    see("vmail", "SELECT v1.record_counters(%s, %s, %s)", DAY, epoch, counted)


def record_day(see: See, day: date = DAY) -> None:
    see("vmail", "SELECT v1.record_day(%s)", day)


def row(store: Store) -> dict[str, Any]:
    (found,) = store.usage_days("acme", DAY, DAY)
    return found


def test_a_day_of_a_tenant(declare: Declare, store: Store, see: See) -> None:
    declare(desired(tenant("acme", *ACME)))
    use(see, store, taro=100, hanako=50)
    record_day(see)
    count(see, store, "first", sent_messages=3, received_bytes=700)
    use(see, store, taro=10)
    record_day(see)
    assert row(store) == {
        "day": "2026-11-22",
        "tenant": "acme",
        "addresses": 2,
        "billed": 2,
        "bytes": 60,
        "peak_bytes": 150,
        **dict.fromkeys(COUNTERS, 0),
        "sent_messages": 3,
        "received_bytes": 700,
    }


def test_what_nobody_measured_is_not_nothing(declare: Declare, store: Store, see: See) -> None:
    declare(desired(tenant("acme", *ACME)))
    record_day(see)
    assert (row(store)["bytes"], row(store)["peak_bytes"]) == (None, None)


def test_a_second_time_changes_nothing(declare: Declare, store: Store, see: See) -> None:
    declare(desired(tenant("acme", *ACME)))
    versions = []
    for _time in range(2):
        use(see, store, taro=100)
        record_day(see)
        count(see, store, "first", sent_messages=3)
        versions.append(store.connection.execute("SELECT xmin, ctid FROM directory.usage_day").fetchall())
    assert versions[0] == versions[1]
    assert row(store)["sent_messages"] == 3


@pytest.mark.parametrize(
    ("read", "stored"),
    [
        ([("a", 5), ("a", 8)], 8),
        ([("a", 5), ("a", 3)], 5),  # Valkey lost the last second, which was counted before
        ([("a", 5), ("a", 3), ("a", 6)], 6),
        ([("a", 5), ("b", 3)], 8),  # Valkey lost all, and counted three since
        ([("a", 5), ("b", 9)], 14),
        ([("a", 5), ("b", 3), ("b", 4), ("c", 1)], 10),
    ],
)
def test_counters_that_are_lost_lower_nothing(
    declare: Declare, store: Store, see: See, read: list[tuple[str, int]], stored: int
) -> None:
    declare(desired(tenant("acme", *ACME)))
    for epoch, number in read:
        count(see, store, epoch, sent_messages=number)
    assert row(store)["sent_messages"] == stored


def test_counters_of_a_day_that_nobody_saw(declare: Declare, store: Store, see: See) -> None:
    declare(desired(tenant("acme", *ACME)))
    count(see, store, "first", received_messages=2)
    assert (row(store)["addresses"], row(store)["received_messages"]) == (None, 2)


@pytest.mark.parametrize(
    ("step", "addresses", "billed"), [(None, 3, 3), (1, 3, 3), (10, 0, 0), (10, 1, 10), (10, 10, 10), (10, 11, 20)]
)
def test_what_is_billed(
    declare: Declare, store: Store, see: See, step: int | None, addresses: int, billed: int
) -> None:
    names = [f"u{number}@acme.example" for number in range(addresses)]
    declare(desired(tenant("acme", *names), plans=plans(billing_step=step)))
    record_day(see)
    assert (row(store)["addresses"], row(store)["billed"]) == (addresses, billed)


@pytest.mark.parametrize("state", ["active", "no_login", "suspended"])
def test_addresses_that_count(declare: Declare, store: Store, state: str) -> None:
    items: list[Account | Alias] = [
        account("taro@acme.example"),
        account("jiro@acme.example", state="suspended"),
        alias("sales@acme.example", "taro@acme.example"),
        alias("postmaster@acme.example", "taro@acme.example"),
        account("all@acme.example"),
    ]
    declare(desired(tenant("acme", *items, state=state, contacts={"technical": "taro@acme.example"}), tenant("bolt")))
    now = store.usage_now(None)
    assert (now["acme"]["addresses"], now["bolt"]["addresses"]) == (3, 0)


def test_a_tenant_that_is_made_anew_has_the_same_row(declare: Declare, store: Store, see: See) -> None:
    declare(desired(tenant("acme")))
    record_day(see)
    count(see, store, "first", sent_messages=3)
    for table in ("domain", "tenant"):
        store.connection.execute(f"DELETE FROM directory.{table}")  # noqa: S608
    declare(desired(tenant("acme", *ACME)))
    record_day(see)
    count(see, store, "first", sent_messages=2)
    assert (row(store)["addresses"], row(store)["sent_messages"]) == (2, 5)


def test_the_history_of_a_tenant_that_is_gone_stays(declare: Declare, store: Store, see: See) -> None:
    declare(desired(tenant("acme", *ACME)))
    record_day(see)
    for table in ("address", "account", "domain", "tenant"):
        store.connection.execute(f"DELETE FROM directory.{table}")  # noqa: S608
    assert row(store)["addresses"] == 2


def test_what_a_tenant_has_now(declare: Declare, store: Store, see: See) -> None:
    declare(desired(tenant("acme", *ACME), tenant("bolt", account("bill@bolt.example", quota=None))))
    use(see, store, taro=100)
    now = store.usage_now(None)
    assert now["acme"] == {
        "addresses": 2,
        "billed": 2,
        "accounts": 2,
        "bytes": 100,
        "quota": 40 * MEBIBYTE,
        "pool": None,
    }
    assert (now["bolt"]["bytes"], now["bolt"]["quota"]) == (None, None)
    assert store.usage_now("bolt").keys() == {"bolt"}


@pytest.mark.parametrize("daemon", [daemon for daemon in views.DAEMONS if daemon != "vmail"])
@pytest.mark.parametrize(
    "call", ["record_usage('{}')", "record_day('2026-11-22')", "record_counters('2026-11-22', 'a', '{}')"]
)
def test_nobody_else_records(see: See, daemon: str, call: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        see(daemon, f"SELECT v1.{call}")


def test_the_service_sees_names_and_numbers(declare: Declare, store: Store, see: See) -> None:
    declare(desired(tenant("acme", account("taro@acme.example", state="suspended"))))
    numbers = look_up(store)
    account_id, tenant_id = numbers["taro@acme.example"], numbers["acme"]
    assert see("vmail", "TABLE v1.usage_account") == [(account_id, "taro@acme.example", tenant_id)]
    assert see("vmail", "TABLE v1.usage_tenant") == [(tenant_id,)]


def test_the_module_returns_days_and_now(declare: Declare, see: See, run: Run) -> None:
    declare(desired(tenant("acme", *ACME), tenant("bolt", "bill@bolt.example")))
    for day in (21, 22, 23):
        record_day(see, date(2026, 11, day))
    result = run("mail_usage_info", **{"from": "2026-11-22", "to": "2026-11-23"})
    assert [(row["day"], row["tenant"]) for row in result["days"]] == [
        ("2026-11-22", "acme"),
        ("2026-11-22", "bolt"),
        ("2026-11-23", "acme"),
        ("2026-11-23", "bolt"),
    ]
    assert result["now"].keys() == {"acme", "bolt"}
    result = run("mail_usage_info", tenant="bolt", to="2026-11-22")
    assert (result["from"], len(result["days"]), list(result["now"])) == ("2026-11-01", 2, ["bolt"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"from": "22.11.2026"}, "from: 22.11.2026 is not a day"),
        ({"from": "2026-11-23", "to": "2026-11-22"}, "is after"),
        ({"tenant": "nobody"}, "no tenant nobody"),
    ],
)
def test_the_module_says_what_is_wrong(run: Run, options: dict[str, str], said: str) -> None:
    result = run("mail_usage_info", **options)
    assert result["failed"]
    assert said in result["msg"]


def both(**settings: Any) -> Desired:
    taro, bill = (account(address, password_hash=HASH) for address in ("taro@acme.example", "bill@bolt.example"))
    hanako = account("hanako@acme.example", password_hash=HASH, quota=30 * MEBIBYTE)
    return desired(tenant("acme", taro, hanako), tenant("bolt", bill), plans=plans(**settings))


@pytest.mark.parametrize("check", [True, False])
def test_who_would_be_over_a_new_plan(declare: Declare, store: Store, see: See, sync: Run, check: bool) -> None:
    declare(both())
    use(see, store, taro=15 * MEBIBYTE, hanako=15 * MEBIBYTE)
    result = sync(both(mailbox_quota=10 * MEBIBYTE), check=check)
    assert result["over"] == [
        {
            "tenant": "acme",
            "address": "taro@acme.example",
            "limit": "mailbox_quota",
            "allowed": 10 * MEBIBYTE,
            "used": 15 * MEBIBYTE,
            "excess": 5 * MEBIBYTE,
        }
    ]
    (warning,) = result["warnings"]
    assert "taro@acme.example uses 15728640 bytes, 5242880 more than its new mailbox_quota of 10485760" in warning


def test_who_would_be_over_a_quota_or_an_override_of_its_own(
    declare: Declare, store: Store, see: See, sync: Run
) -> None:
    declare(both())
    use(see, store, taro=15 * MEBIBYTE, hanako=15 * MEBIBYTE)
    asked = both()
    asked.tenants["acme"].overrides["mailbox_quota"] = MEBIBYTE
    asked.tenants["acme"].accounts["hanako@acme.example"].quota = 2 * MEBIBYTE
    result = sync(asked, check=True)
    assert [(item["address"], item["allowed"]) for item in result["over"]] == [
        ("hanako@acme.example", 2 * MEBIBYTE),
        ("taro@acme.example", MEBIBYTE),
    ]


def test_a_tenant_over_its_new_pool(declare: Declare, store: Store, see: See, sync: Run) -> None:
    declare(both())
    use(see, store, taro=15 * MEBIBYTE, hanako=15 * MEBIBYTE)
    result = sync(both(tenant_quota=20 * MEBIBYTE), check=True)
    assert [(item["tenant"], item["address"], item["excess"]) for item in result["over"]] == [
        ("acme", None, 10 * MEBIBYTE)
    ]


def test_nobody_is_over_what_stays_or_grows(declare: Declare, store: Store, see: See, sync: Run) -> None:
    declare(both())
    use(see, store, taro=25 * MEBIBYTE, hanako=35 * MEBIBYTE)
    for settings in ({"max_forward_targets": 5}, {"mailbox_quota": None}, {"mailbox_quota": 26 * MEBIBYTE}):
        assert sync(both(**settings), check=True)["over"] == []
