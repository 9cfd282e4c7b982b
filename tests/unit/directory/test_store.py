# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Written rows are read back unchanged, completely or not at all, with one writer at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import passwords
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import Changes, Options, Scope
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.checks_after import unloaded_targets
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Desired
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.problems import DirectoryError
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.reconcile import reconcile
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, Store, connect, locked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .build import HASH, OTHER_HASH, account, alias, current_of, desired, forward, tenant
from .conftest import GRACE, Declare, See

RICH = desired(
    tenant(
        "acme",
        account("taro@acme.example", password_hash=HASH, quota=5),
        account("hanako@acme.example", quota=None, state="no_login"),
        account("ken@acme.example", forward=forward("ken@home.example", "taro@acme.example", keep=False)),
        account("jiro@acme.example", forward=None),
        alias("sales@acme.example", "taro@acme.example", "partner@elsewhere.example"),
        overrides={"mailbox_quota": 1, "protocols": ["imaps"]},
    ),
    tenant("bolt", "bill@bolt.example", plan="large", state="suspended"),
)


def ids(store: Store) -> dict[str, int]:
    return {address: row.id for address, row in store.load().accounts.items()}


def test_what_is_written_is_read_again(declare: Declare, store: Store) -> None:
    declare(RICH)
    found, expected = store.load(), current_of(RICH)
    for kind in ("plans", "tenants", "domains", "aliases", "closed", "holds"):
        assert getattr(found, kind) == getattr(expected, kind), kind
    numbers = ids(store)
    assert len(set(numbers.values())) == len(numbers)
    assert {address: row._replace(id=0) for address, row in found.accounts.items()} == {
        address: row._replace(id=0) for address, row in expected.accounts.items()
    }
    assert not declare(RICH)


def test_a_plain_password_is_hashed_once_and_then_known(declare: Declare, store: Store) -> None:
    wanted = desired(tenant("acme", account("taro@acme.example", password="correct horse")))
    declare(wanted, enforce_passwords=True, fingerprint_key=b"key")
    row = store.load().accounts["taro@acme.example"]
    assert row.password is not None
    assert row.password.startswith("{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.verify("correct horse", row.password)
    assert row.password_applied is True
    assert not declare(wanted, enforce_passwords=True, fingerprint_key=b"key")
    declare(wanted, enforce_passwords=True, fingerprint_key=b"another key")
    assert store.load().accounts["taro@acme.example"].password != row.password


@pytest.mark.requirement("OM-8")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # passlib uses old interfaces of new libraries
def test_a_hash_is_what_another_library_takes_for_the_password() -> None:
    from passlib.hash import argon2

    (hashed,) = passwords.hash_all(["Secret"])
    scheme, _brace, encoded = hashed.partition("}")
    assert scheme == "{ARGON2ID"
    assert encoded.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert argon2.verify("Secret", encoded)
    assert not argon2.verify("secret", encoded)


def test_passwords_are_case_sensitive() -> None:
    (hashed,) = passwords.hash_all(["Secret"])
    assert passwords.verify("Secret", hashed)
    assert not passwords.verify("secret", hashed)
    assert not passwords.verify("Secret", HASH.replace("{ARGON2ID}", "{SHA512-CRYPT}"))


def test_a_users_own_change_is_seen_as_one(declare: Declare, store: Store) -> None:
    declare(RICH)
    store.connection.execute("UPDATE directory.account SET password = %s WHERE password IS NOT NULL", [OTHER_HASH])
    row = store.load().accounts["taro@acme.example"]
    assert (row.password, row.password_applied) == (OTHER_HASH, False)
    changes = declare(RICH)
    assert [change.address for change in changes.accounts] == ["taro@acme.example"]
    assert store.load().accounts["taro@acme.example"].password == HASH


def test_what_a_user_changes_meanwhile_is_not_overwritten(store: Store, declare: Declare) -> None:
    before = desired(tenant("acme", "taro@acme.example"))
    declare(before)
    changes = reconcile(store.load(), desired(tenant("acme", account("taro@acme.example", quota=7))), Options())
    store.connection.execute(
        "UPDATE directory.account SET password = 'mine', forward_to = '{a@b.example}', forward_keep = true"
    )
    store.apply(changes, GRACE)
    row = store.load().accounts["taro@acme.example"]
    assert (row.quota, row.password, row.forward) == (7, "mine", forward("a@b.example"))


def test_a_rename_keeps_the_id_and_a_new_account_of_the_old_name_gets_its_own(declare: Declare, store: Store) -> None:
    declare(desired(tenant("acme", account("old@acme.example", password_hash=HASH))))
    number = ids(store)["old@acme.example"]
    declare(desired(tenant("acme", account("new@acme.example", password_hash=HASH, renamed_from="old"))))
    assert ids(store) == {"new@acme.example": number}
    declare(desired(tenant("acme", account("new@acme.example", password_hash=HASH), "old@acme.example")))
    assert ids(store)["new@acme.example"] == number
    assert ids(store)["old@acme.example"] > number


@pytest.mark.parametrize("restore", [True, False])
def test_a_closed_account_comes_back_or_stays_away(declare: Declare, store: Store, restore: bool) -> None:
    declare(desired(tenant("acme", account("taro@acme.example", password_hash=HASH, quota=7))))
    number = ids(store)["taro@acme.example"]
    declare(desired(tenant("acme")), purge=True)
    closed = store.load()
    assert closed.accounts == {}
    assert [row.id for row in closed.closed.values()] == [number]
    assert closed.tenants["acme"].mailboxes == 1
    declare(desired(tenant("acme", account("taro@acme.example", restore=restore))))
    row = store.load().accounts["taro@acme.example"]
    assert (row.id == number) is restore
    assert (row.password == HASH) is restore
    assert row.quota is None
    assert row.origin == "inventory"
    assert len(store.load().closed) == (0 if restore else 1)


def test_the_latest_of_several_closed_ones_is_restored(declare: Declare, store: Store) -> None:
    wanted = desired(tenant("acme", account("taro@acme.example", restore=False)))
    for _time in range(3):
        declare(wanted)
        last = ids(store)["taro@acme.example"]
        declare(desired(tenant("acme")), purge=True)
    declare(desired(tenant("acme", account("taro@acme.example", restore=True))))
    assert ids(store) == {"taro@acme.example": last}


def test_an_account_whose_grace_is_over_is_not_asked_about(declare: Declare, store: Store) -> None:
    declare(desired(tenant("acme", "taro@acme.example")))
    number = ids(store)["taro@acme.example"]
    declare(desired(tenant("acme")), grace=0, purge=True)
    changes = declare(desired(tenant("acme", account("taro@acme.example", restore=True))))
    assert len(changes.warnings) == 1
    assert ids(store)["taro@acme.example"] != number


def test_an_account_that_went_meanwhile_is_not_said_to_be_restored(declare: Declare, store: Store) -> None:
    declare(desired(tenant("acme", "taro@acme.example")))
    declare(desired(tenant("acme")), purge=True)
    wanted = desired(tenant("acme", account("taro@acme.example", restore=True), "jiro@acme.example"))
    changes = reconcile(store.load(), wanted, Options())
    store.connection.execute("UPDATE directory.closed SET expires_at = now()")
    with pytest.raises(DirectoryError, match="changed while this run looked at it"):
        store.apply(changes, GRACE)
    assert store.load().accounts == {}


def test_grace_is_counted_from_closing(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", "taro@acme.example")))
    declare(desired(tenant("acme")), grace=3600, purge=True)
    query = "SELECT round(extract(epoch FROM expires_at - closed_at)) FROM directory.closed"
    assert see("mailhosting", query) == [(3600,)]


def test_addresses_handed_to_a_panel_and_back(declare: Declare, store: Store) -> None:
    files = desired(tenant("acme", "taro@acme.example", alias("sales@acme.example", "taro@acme.example")))
    panel = desired(tenant("acme", addresses_managed_by="panel", addresses_file=""))
    declare(files)
    declare(panel, purge=True)
    assert {row.origin for row in store.load().accounts.values()} == {"panel"}
    assert not declare(panel, purge=True)
    declare(files)
    assert {row.origin for row in store.load().accounts.values()} == {"inventory"}
    assert {row.origin for row in store.load().aliases.values()} == {"inventory"}
    assert not declare(files)


def test_a_tenant_at_its_end(declare: Declare, store: Store, see: See) -> None:
    declare(desired(tenant("acme", "taro@acme.example", alias("sales@acme.example", "taro@acme.example"))))
    declare(desired(tenant("acme", state="closed")), grace=0)
    assert not declare(desired(), purge=True)
    for (number,) in see("vmail", "SELECT account_id FROM v1.expired_mailbox"):
        see("vmail", "SELECT v1.forget_mailbox(%s)", number)
    assert declare(desired(), purge=True)
    left = store.load()
    assert (left.tenants, left.domains, left.aliases) == ({}, {}, {})


def test_a_part_is_loaded_with_what_its_mail_reaches(declare: Declare, store: Store) -> None:
    far = desired(
        tenant("acme", alias("a@acme.example", "b@bolt.example")),
        tenant("bolt", alias("b@bolt.example", "c@corp.example")),
        tenant("corp", "c@corp.example"),
        tenant("dent", "d@dent.example"),
    )
    declare(far)
    part = store.load(frozenset({"acme"}))
    assert list(part.aliases) == ["a@acme.example"]
    assert part.tenants.keys() == far.tenants.keys()
    assert unloaded_targets(part, Desired()) == {"bolt"}
    assert unloaded_targets(store.load(frozenset({"acme", "bolt"})), Desired()) == {"corp"}
    assert unloaded_targets(store.load(frozenset({"acme", "bolt", "corp"})), Desired()) == frozenset()
    assert unloaded_targets(store.load(), Desired()) == frozenset()


def test_a_second_run_waits_and_then_says_who_it_waited_for(place: Dsn, store: Store) -> None:
    with closing(connect(place)) as other, locked(other):
        started = time.monotonic()
        said = r"another run holds the directory \(PostgreSQL process \d+ since"
        with pytest.raises(DirectoryError, match=said), locked(store.connection, patience=1):
            pass
        assert 0.9 < time.monotonic() - started < 5
    with locked(store.connection, patience=1):
        pass


def test_a_second_run_goes_on_when_the_first_is_done(place: Dsn, store: Store) -> None:
    order: list[str] = []
    taken = threading.Event()

    def first() -> None:
        with closing(connect(place)) as connection, locked(connection):
            taken.set()
            time.sleep(0.3)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    taken.wait()
    with locked(store.connection):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


WRITER = """
import sys
from contextlib import closing
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import Options
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Account, Desired, Domain, Tenant
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.reconcile import reconcile
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, Store, connect, locked

accounts = {f"u{i}@acme.example": Account(f"u{i}", "acme.example") for i in range(1, 500)}
domains = {"acme.example": Domain("acme.example")}
tenant = Tenant("acme", "basic", domains=domains, accounts=accounts, addresses_file="addresses/acme.yml")
with closing(connect(Dsn(*sys.argv[1:]))) as connection, locked(connection):
    store = Store(connection)
    changes = reconcile(store.load(), Desired({"basic": {}}, {"acme": tenant}), Options(purge=True))
    print("writing", flush=True)
    store.apply(changes, 1)
"""


def test_a_run_that_is_killed_half_way_leaves_the_old_state(declare: Declare, place: Dsn, store: Store) -> None:
    declare(desired(tenant("acme", account("u0@acme.example", password_hash=HASH)), plans={"basic": {}}))
    before = store.load()
    tree = str(Path(__file__).parents[3] / ".cache" / "tree")
    with store.connection.transaction():
        # The run's last statements wait for this lock; by then it has created accounts and closed one.
        store.connection.execute("LOCK TABLE directory.closed IN SHARE MODE")
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, *place],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": tree},
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'directory.closed'::regclass"
            while store.connection.execute(waiting).fetchone() != (1,):
                time.sleep(0.02)
            writer.send_signal(signal.SIGKILL)
    # PostgreSQL frees the lock of a dead session once it notices.
    with locked(store.connection, patience=10):
        assert store.load() == before


def test_readers_never_wait_for_a_writer(declare: Declare, store: Store, see: See) -> None:
    declare(desired(tenant("acme", *(f"u{number}@acme.example" for number in range(100)))))
    after = desired(tenant("acme", *(account(f"u{number}@acme.example", quota=1) for number in range(50, 2000))))
    changes = reconcile(store.load(), after, Options(purge=True, expect_closed=50))
    with store.connection.transaction():
        store.apply(changes, GRACE)
        see("postfix", "SELECT set_config('statement_timeout', '100ms', false)")
        assert len(see("postfix", "TABLE v1.mailbox_recipient")) == 100
        assert see("postfix", "SELECT * FROM v1.recipient('u7', 'acme.example')") == [("OK",)]
        assert len(see("dovecot", "TABLE v1.passdb")) == 100
    assert len(see("postfix", "TABLE v1.mailbox_recipient")) == 1950


# After any sequence of runs the directory is as the last one declares.

LOCAL_PARTS = st.sampled_from(["a", "b", "c", "d"])
ACCOUNT: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    state=st.sampled_from(["active", "no_login", "suspended"]),
    quota=st.sampled_from([None, 1, 2]),
    password_hash=st.sampled_from([None, HASH, OTHER_HASH]),
    forward=st.sampled_from([None, forward("x@elsewhere.example"), forward("y@elsewhere.example", keep=False)]),
    restore=st.booleans(),
)
TENANT = st.fixed_dictionaries(
    {
        "accounts": st.dictionaries(LOCAL_PARTS, ACCOUNT, max_size=4),
        "aliases": st.sets(LOCAL_PARTS, max_size=2),
        "state": st.sampled_from(["active", "suspended", "closed"]),
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.fixed_dictionaries({"acme": TENANT, "bolt": TENANT}))
def test_any_run_reaches_what_it_declares(store: Store, wanted: dict[str, dict[str, Any]]) -> None:
    tenants = []
    for name, parts in wanted.items():
        accounts = [account(f"{local}@{name}.example", **keys) for local, keys in parts["accounts"].items()]
        targets = ("x@elsewhere.example",)
        aliases = [alias(f"{local}@{name}.example", *targets) for local in parts["aliases"] - parts["accounts"].keys()]
        tenants.append(tenant(name, *accounts, *aliases, state=parts["state"]))
    for item in tenants:
        closing_there = reconcile_forced(store, desired(item))
        store.apply(closing_there, GRACE)
    assert not reconcile_forced(store, desired(*tenants))
    present = store.load().accounts
    for item in tenants:
        expected = {} if item.state == "closed" else item.accounts
        there = {address: row for address, row in present.items() if row.tenant == item.name}
        assert there.keys() == expected.keys()
        for address, row in there.items():
            assert (row.state, row.forward) == (expected[address].state, expected[address].forward)
            assert expected[address].password_hash in (None, row.password)


def reconcile_forced(store: Store, wanted: Desired) -> Changes:
    """Reconcile, confirmed for any number of closed accounts."""
    current = store.load()
    scope = Scope(frozenset(wanted.tenants))
    for number in range(9):
        try:
            return reconcile(current, wanted, Options(scope=scope, purge=True, expect_closed=number))
        except DirectoryError as error:
            if "expect_closed" not in str(error):
                raise
    raise AssertionError
