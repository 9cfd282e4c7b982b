# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From nothing to a directory, from release to release, and never half of it."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import install as installing
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import quarantine, schema, usage, views
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.install import everything, install
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.problems import DirectoryError
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.schema import VERSION
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import (
    Dsn,
    NoDirectoryError,
    Store,
    connect,
)

SUPERUSER = "postgres"


@pytest.fixture
def root(place: Dsn) -> Dsn:
    return place._replace(user=SUPERUSER)


def test_nothing_becomes_a_directory_and_stays_one(bare_cluster: str) -> None:
    place = Dsn(bare_cluster, SUPERUSER, "mailhosting")
    assert install(place, check=True) == everything(place.database)
    with pytest.raises(NoDirectoryError, match=r"mailhosting.stack.site"):
        connect(place)
    assert install(place) == everything(place.database)
    assert install(place) == install(place, check=True) == []
    with connect(place._replace(user="mailhosting")) as connection:
        assert Store(connection).load().accounts == {}
    with (
        pytest.raises(NoDirectoryError, match="permission denied for database"),
        connect(place._replace(user="nobody")),
    ):
        pass


@pytest.fixture(autouse=True)
def nobody(bare_cluster: str) -> None:
    with psycopg.connect(host=bare_cluster, user=SUPERUSER, dbname="postgres", autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS nobody")
        connection.execute("CREATE ROLE nobody LOGIN")


def test_views_are_defined_again_only_when_their_text_changed(root: Dsn, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install(root) == []
    monkeypatch.setattr(views, "REFUSAL", "550 5.2.1 Gone")
    assert install(root, check=True) == ["define the views"]
    assert install(root) == ["define the views"]
    assert install(root) == []
    with connect(root) as connection:
        text = connection.execute("SELECT pg_get_viewdef('v1.recipient_refusal'::regclass)").fetchone()
        assert text is not None
        assert "Gone" in text[0]
        connection.execute("SET ROLE postfix")
        connection.execute("TABLE v1.recipient_refusal")


def test_a_migration_that_fails_leaves_the_release_before(root: Dsn, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (
        *schema.MIGRATIONS,
        (VERSION + 1, "CREATE TABLE directory.two (i int)"),
        (VERSION + 2, "CREATE TABLE directory.three (i wrong)"),
    )
    monkeypatch.setattr(installing, "MIGRATIONS", steps)
    with pytest.raises(DirectoryError, match="wrong"):
        install(root)
    with connect(root) as connection:
        assert Store(connection).load().plans == {}
        (row,) = connection.execute("SELECT to_regclass('directory.two') IS NULL").fetchall()
        assert row == (True,)


def test_a_later_release_is_reached_step_by_step(root: Dsn, monkeypatch: pytest.MonkeyPatch) -> None:
    later = (VERSION + 1, VERSION + 2)
    texts = ("CREATE TABLE directory.two (i int)", "ALTER TABLE directory.two ADD j int")
    steps = (*schema.MIGRATIONS, *zip(later, texts, strict=True))
    monkeypatch.setattr(installing, "MIGRATIONS", steps)
    monkeypatch.setattr(installing, "VERSION", later[-1])
    assert install(root) == [f"migrate to version {number}" for number in later]
    assert install(root) == []
    monkeypatch.undo()
    with pytest.raises(DirectoryError, match=rf"is of version {later[-1]}, and this release .* knows only {VERSION}"):
        install(root)
    with (
        connect(root) as connection,
        pytest.raises(NoDirectoryError, match=r"run the playbook mailhosting\.stack\.site"),
    ):
        Store(connection)


def test_what_is_stored_gets_the_present_names(bare_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Dsn(bare_cluster, SUPERUSER, "former_names")
    before = [(version, sql) for version, sql in schema.MIGRATIONS if version < 7]
    monkeypatch.setattr(installing, "MIGRATIONS", before)
    monkeypatch.setattr(installing, "VERSION", before[-1][0])
    # Views of that time read nothing that later migrations make.
    monkeypatch.setattr(quarantine, "text", str)
    monkeypatch.setattr(usage, "COUNTERS", [name for name in usage.COUNTERS if not name.startswith("virus_")])
    install(place)
    limits = [{"recipients": 5, "per": 60, "pause": 60, "stops": ["send"]}, {"messages": 9, "per": 60, "pause": None}]
    counts = {"same_content": 5, "same_content_received": None, "unknown_recipients": 7}
    written = {
        "mailbox_quota": 50,
        "max_quota": "mailbox_quota",
        "max_forwards": 3,
        "quota_notice": [90],
        "send_limits": limits,
        "receive_limits": limits,
        "mass_mail": {**counts, "per": 60, "action": "hold"},
        "retention": {"read": 7, "any": 8},
    }
    few: dict[str, object] = {"max_quota": 5, "mass_mail": None, "retention": {"trash": 1}, "receive_limits": []}
    with connect(place) as connection:
        insert = "INSERT INTO directory.plan (name, settings, origin) VALUES (%s, %s, 'module')"
        for name, settings in (("all", written), ("few", few), ("none", {})):
            connection.execute(insert, [name, json.dumps(settings)])
        connection.execute(
            "INSERT INTO directory.tenant (name, plan, overrides, state, addresses_managed_by, origin) "
            "VALUES ('acme', 'none', %s, 'active', 'inventory', 'module')",
            [json.dumps(written)],
        )
        connection.execute("INSERT INTO directory.account (tenant_id, state) SELECT id, 'active' FROM directory.tenant")
        for kind, origin in (("mass_mail", "gate"), ("unknown_recipients", "gate"), ("mass_mail", "operator")):
            connection.execute(
                "WITH stopped AS (INSERT INTO directory.account (tenant_id, state) "
                "SELECT id, 'active' FROM directory.tenant RETURNING id) "
                "INSERT INTO directory.hold (account_id, scope, reason, origin) SELECT id, 'send', %s, %s FROM stopped",
                [kind, origin],
            )
        for kind in ("mass_mail", "unknown_recipients"):
            connection.execute("SELECT v1.gate_keep(%s, 1, NULL, %s, 1)", [kind, kind])
            connection.execute("SELECT v1.add_notice(%s, NULL, NULL, '{}', %s)", [kind, kind])
        # Kinds from the previous release's gate, and kinds it stored before the migration, have their present names.
        for query in ("SELECT kind FROM directory.held_mail", "SELECT kind FROM directory.notice"):
            assert sorted(connection.execute(query).fetchall()) == [("bulk_mail",), ("invalid_recipients",)]
        connection.execute("UPDATE directory.held_mail SET kind = queue_id")
        connection.execute("UPDATE directory.notice SET kind = once")
    monkeypatch.undo()
    assert "migrate to version 7" in install(place)

    with connect(place._replace(user="mailhosting")) as connection:
        found = Store(connection).load()
        # No quota has changed.
        assert connection.execute("TABLE directory.quota_recheck").fetchall() == []
        connection.execute("""UPDATE directory.tenant SET overrides = overrides || '{"quota_warnings": [80]}'""")
        assert len(connection.execute("TABLE directory.quota_recheck").fetchall()) == 4
        holds = connection.execute("SELECT reason FROM directory.hold ORDER BY id").fetchall()
        held = connection.execute("SELECT kind FROM directory.held_mail ORDER BY queue_id").fetchall()
        notices = connection.execute("SELECT kind FROM directory.notice ORDER BY id").fetchall()
    renamed = [{"recipients": 5, "per": 60, "pause": 60, "pause_applies_to": ["send"]}, limits[1]]
    counts = {"recipients_per_content": 5, "recipients_per_content_received": None, "invalid_recipients": 7}
    present = {
        "mailbox_quota": 50,
        "max_account_quota": "plan",
        "max_forward_targets": 3,
        "quota_warnings": [90],
        "send_limits": renamed,
        "receive_limits": renamed,
        "bulk_mail": {**counts, "per": 60, "action": "hold"},
        "retention": {"read": 7, "received": 8},
    }
    few = {"max_account_quota": 5, "bulk_mail": None, "retention": {"trash": 1}, "receive_limits": []}
    assert found.plans == {"all": present, "few": few, "none": {}}
    assert found.tenants["acme"].overrides == present
    assert holds == [("bulk_mail",), ("invalid_recipients",), ("mass_mail",)]
    assert held == notices == [("bulk_mail",), ("invalid_recipients",)]


def test_an_empty_database_is_no_directory(place: Dsn) -> None:
    elsewhere = place._replace(user=SUPERUSER, database="postgres")
    with connect(elsewhere) as connection, pytest.raises(NoDirectoryError, match="was never set up and this release"):
        Store(connection)


def test_two_at_a_time_do_it_once(bare_cluster: str) -> None:
    place = Dsn(bare_cluster, SUPERUSER, "at_a_time")
    done: list[list[str]] = []
    threads = [threading.Thread(target=lambda: done.append(install(place))) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = done
    missing = [step for step in everything("at_a_time") if not step.startswith("create role")]
    assert sorted(step for step in first + second if not step.startswith("create role")) == sorted(missing)


def next_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """The release after this one changes one table after the other."""
    sql = "ALTER TABLE directory.address ADD two int; ALTER TABLE directory.account ADD two int"
    monkeypatch.setattr(installing, "MIGRATIONS", (*schema.MIGRATIONS, (VERSION + 1, sql)))
    monkeypatch.setattr(installing, "VERSION", VERSION + 1)


def wait_for_a_waiting_one(root: Dsn) -> None:
    """Wait until a transaction waits for a table."""
    waiting = (
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT granted AND datname = %s"
    )
    deadline = time.monotonic() + 10
    with connect(root) as connection:
        while connection.execute(waiting, [root.database]).fetchone() == (0,):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_whoever_reads_meanwhile_is_not_ended(root: Dsn, monkeypatch: pytest.MonkeyPatch) -> None:
    next_release(monkeypatch)
    with ThreadPoolExecutor() as pool, connect(root) as reader:
        with reader.transaction():
            reader.execute("SELECT FROM directory.account")
            done = pool.submit(install, root)
            wait_for_a_waiting_one(root)
            # Now the two wait for each other.
            reader.execute("SELECT FROM directory.address")
        assert done.result() == [f"migrate to version {VERSION + 1}"]


def test_whoever_reads_for_long_keeps_nobody_else_waiting(root: Dsn, monkeypatch: pytest.MonkeyPatch) -> None:
    next_release(monkeypatch)
    monkeypatch.setattr(installing, "PATIENCE", 0.1)
    with ThreadPoolExecutor() as pool, connect(root) as reader, connect(root) as other, reader.transaction():
        reader.execute("SELECT FROM directory.account")
        done = pool.submit(install, root)
        wait_for_a_waiting_one(root)
        other.execute("SELECT FROM directory.account")
        with pytest.raises(DirectoryError, match="there was always somebody reading the directory"):
            done.result()
    assert installing.install(root) == [f"migrate to version {VERSION + 1}"]
