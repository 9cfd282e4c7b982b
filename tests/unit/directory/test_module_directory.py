# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bulk module as a task runs it: in check mode, for real, and again."""

from __future__ import annotations

import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _directory_module
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import VIRUS_DEFAULTS, Desired, Domain
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, Store, connect, locked

from .build import HASH, OTHER_HASH, PLANS, account, alias, desired, forward, tenant
from .conftest import Run

ONE = desired(
    tenant("acme", account("taro@acme.example", password_hash=HASH), alias("sales@acme.example", "taro@acme.example")),
    plans={"basic": {"mailbox_quota": 7}},
)
NEW = """\
plans:
  basic:
    mailbox_quota: 7
tenants:
  acme:
    addresses_managed_by: inventory
    language: en
    overrides: {}
    plan: basic
    state: active
domains:
  acme.example:
    hostnames: []
    tenant: acme
accounts:
  taro@acme.example:
    forward: null
    forward_by: user
    password: ******** (new)
    password_by: file
    quota: the plan's
    state: active
aliases:
  sales@acme.example:
    targets: ["taro@acme.example"]
"""


def expect(
    sync: Run, wanted: Desired, before: str, after: str, warnings: tuple[str, ...] = (), **options: Any
) -> dict[str, Any]:
    """Check mode reports what the run then does, with `warnings`, and a second run changes nothing."""
    dry = sync(wanted, check=True, **options)
    real = sync(wanted, **options)
    again = sync(wanted, **options)
    assert dry == real
    assert real["changed"]
    assert real["diff"] == {"before": before, "after": after}
    assert not again["changed"]
    assert again["diff"] == {"before": "", "after": ""}
    for result in (dry, real, again):
        assert "argon2id" not in json.dumps(result)
    assert real["warnings"] == [*warnings]
    assert again["warnings"] == []
    return real


def test_everything_new(sync: Run) -> None:
    result = expect(sync, ONE, before="", after=NEW)
    assert result["counts"] == {
        "created": 2,
        "changed": 0,
        "renamed": 0,
        "closed": 0,
        "restored": 0,
        "removed": 0,
        "unchanged": 0,
        "undeclared": 0,
    }
    assert result["addresses"] == ["sales@acme.example", "taro@acme.example"]
    assert result["settings"] == ["plan basic", "tenant acme", "domain acme.example"]


def block(address: str, **values: str) -> str:
    shown = {
        "forward": "null",
        "forward_by": "user",
        "password": "********",
        "password_by": "file",
        "quota": "the plan's",
        "state": "active",
        **values,
    }
    return f"accounts:\n  {address}:\n" + "".join(f"    {key}: {value}\n" for key, value in shown.items())


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ({"password_hash": OTHER_HASH}, {}, {"password": "******** (new)"}),
        ({"password_hash": None}, {}, {"password_by": "user"}),
        ({"state": "suspended"}, {}, {"state": "suspended"}),
        ({"quota": 5}, {}, {"quota": "5"}),
        ({"quota": None}, {}, {"quota": "none"}),
        ({"forward": None}, {}, {"forward_by": "file"}),
        (
            {"forward": forward("a@x.example", "b@x.example", keep=False)},
            {},
            {"forward": '{"keep": false, "to": ["a@x.example", "b@x.example"]}', "forward_by": "file"},
        ),
    ],
)
def test_one_change_of_an_account(
    sync: Run, change: dict[str, Any], before: dict[str, str], after: dict[str, str]
) -> None:
    address = "taro@acme.example"
    sync(desired(tenant("acme", account(address, password_hash=HASH))))
    wanted = desired(tenant("acme", account(address, **{"password_hash": HASH, **change})))
    result = expect(sync, wanted, block(address, **before), block(address, **after))
    assert result["counts"]["changed"] == 1
    assert result["addresses"] == [address]


def test_a_users_own_change_shows_as_one(sync: Run, place: Dsn) -> None:
    wanted = desired(tenant("acme", account("taro@acme.example", password_hash=HASH, forward=None)))
    sync(wanted)
    with closing(connect(place)) as connection:
        connection.execute(
            "UPDATE directory.account SET password = 'x', forward_to = '{a@b.example}', forward_keep = true"
        )
    expect(
        sync,
        wanted,
        block(
            "taro@acme.example",
            forward='{"keep": true, "to": ["a@b.example"]}',
            forward_by="user, over the file's",
            password_by="user, over the file's",
        ),
        block("taro@acme.example", forward_by="file", password="******** (new)"),
    )


def test_closing_and_restoring(sync: Run) -> None:
    sync(ONE)
    gone = desired(tenant("acme"), plans=ONE.plans)
    result = sync(gone)
    assert result["undeclared"] == ["taro@acme.example"]
    assert result["counts"]["removed"] == 1
    closed = "accounts:\n  taro@acme.example:\n    closed: its mail is kept for 2w\n"
    warnings = ("closes 1 account: taro@acme.example",)
    result = expect(sync, gone, block("taro@acme.example"), closed, warnings, purge=True, grace="2w")
    assert result["counts"]["closed"] == 1
    back = desired(tenant("acme", account("taro@acme.example", restore=True, password_hash=HASH)), plans=ONE.plans)
    kept = "accounts:\n  taro@acme.example:\n    closed: its mail is kept\n"
    assert expect(sync, back, kept, block("taro@acme.example"))["counts"]["restored"] == 1


def test_a_rename(sync: Run) -> None:
    sync(desired(tenant("acme", account("zero-one@acme.example", password_hash=HASH))))
    wanted = desired(tenant("acme", account("001@acme.example", password_hash=HASH, renamed_from="zero-one")))
    result = expect(sync, wanted, block("zero-one@acme.example"), block("001@acme.example"))
    assert result["counts"]["renamed"] == 1


def test_tenants_domains_and_plans(sync: Run) -> None:
    sync(desired(tenant("acme", domains=["acme.example", "old.example"])))
    changed = tenant("acme", domains=["acme.example", "new.example"], state="no_login", overrides={"max_accounts": 5})
    changed.domains["acme.example"] = Domain("acme.example", ("mail.acme.example",))
    before = """\
plans:
  large:
    mailbox_quota: null
    protocols: ["pop3s", "imaps", "submission"]
tenants:
  acme:
    addresses_managed_by: inventory
    language: en
    overrides: {}
    plan: basic
    state: active
domains:
  acme.example:
    hostnames: []
    tenant: acme
  old.example:
    hostnames: []
    tenant: acme
"""
    after = """\
plans:
  large:
    mailbox_quota: 9
tenants:
  acme:
    addresses_managed_by: inventory
    language: en
    overrides: {"max_accounts": 5}
    plan: basic
    state: no_login
domains:
  acme.example:
    hostnames: ["mail.acme.example"]
    tenant: acme
  new.example:
    hostnames: []
    tenant: acme
"""
    result = expect(sync, desired(changed, plans={**PLANS, "large": {"mailbox_quota": 9}}), before, after)
    assert result["host"] == {
        "hostnames": ["mail.acme.example"],
        "all_address": False,
        "cleartext_auth": False,
        "legacy_auth": False,
        "max_message_size": 0,
        "pop_before_smtp": 0,
        "pop_before_smtp_senders": "login",
        "quota_warnings": [90, 100],
        "protocols": ["pop3s", "submission"],
        "virus": False,
        "virus_pua": False,
        "max_unpacked_size": 0,
    }
    assert result["host_changed"]


@pytest.mark.parametrize(
    ("state", "overrides", "changed"),
    [("active", {}, False), ("active", {"cleartext_auth": True}, True), ("closed", {}, True), ("suspended", {}, False)],
)
def test_what_the_daemons_depend_on(sync: Run, state: str, overrides: dict[str, Any], changed: bool) -> None:
    sync(desired(tenant("acme")))
    result = sync(desired(tenant("acme", state=state, overrides=overrides)))
    assert result["host_changed"] is changed
    assert result["host"]["cleartext_auth"] is bool(overrides)
    assert result["host"]["protocols"] == ([] if state == "closed" else ["pop3s", "submission"])


def test_another_threshold_of_quotas_is_the_daemons_concern_and_one_that_somebody_has_is_not(sync: Run) -> None:
    sync(desired(tenant("acme"), tenant("bolt")))
    result = sync(desired(tenant("acme", overrides={"quota_warnings": [100]}), tenant("bolt")))
    assert (result["host"]["quota_warnings"], result["host_changed"]) == ([90, 100], False)
    result = sync(desired(tenant("acme", overrides={"quota_warnings": [50, 100]}), tenant("bolt")))
    assert (result["host"]["quota_warnings"], result["host_changed"]) == ([50, 90, 100], True)


def test_the_largest_message_of_any_plan_is_the_hosts_whatever_others_say(sync: Run) -> None:
    result = sync(desired(tenant("acme", overrides={"max_message_size": 90 << 20}), tenant("bolt")))
    assert result["host"]["max_message_size"] == 90 << 20


def test_a_host_scans_as_soon_as_one_plan_does_and_no_longer(sync: Run) -> None:
    def host(*checks: dict[str, Any] | None) -> tuple[dict[str, Any], bool]:
        tenants = (tenant(f"t{number}", overrides={"virus": check}) for number, check in enumerate(checks))
        result = sync(desired(*tenants))
        found = {key: result["host"][key] for key in ("virus", "virus_pua", "max_unpacked_size")}
        return found, result["host_changed"]

    nothing = {"virus": False, "virus_pua": False, "max_unpacked_size": 0}
    small = {**VIRUS_DEFAULTS, "max_unpacked_size": 60 << 20}
    strict = {**VIRUS_DEFAULTS, "pua": "reject"}
    assert host(None, None) == (nothing, True)  # the protocols changed
    assert host(small, None) == ({"virus": True, "virus_pua": False, "max_unpacked_size": 60 << 20}, True)
    assert host(small, strict) == ({"virus": True, "virus_pua": True, "max_unpacked_size": 100 << 20}, True)
    assert host(None, None) == (nothing, True)


def test_without_a_directory_check_mode_takes_it_to_be_empty(sync: Run) -> None:
    options = {"host": "/nowhere"}
    result = sync(ONE, check=True, **options)
    assert result["changed"]
    assert result["diff"] == {"before": "", "after": NEW}
    assert result["host"]["protocols"]
    assert "as if the directory were empty" in result["warnings"][0]
    failed = sync(ONE, **options)
    assert failed["failed"]
    assert "mailhosting.stack.site" in failed["msg"]


def test_without_psycopg_it_says_what_is_missing(sync: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_place: Dsn) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(_directory_module, "connect", missing)
    assert sync(ONE, check=True)["diff"]["after"] == NEW
    failed = sync(ONE)
    assert "psycopg" in failed["msg"]
    assert "mailhosting.stack.directory" in failed["msg"]


def test_another_release_is_refused(sync: Run, place: Dsn) -> None:
    with closing(connect(place)) as connection:
        connection.execute("INSERT INTO directory.migration (version) VALUES (999)")
    assert "is of version 999" in sync(ONE)["msg"]
    assert "is of version 999" in sync(ONE, check=True)["warnings"][0]


def test_all_mistakes_at_once_and_nothing_changed(sync: Run, run: Run) -> None:
    sync(ONE)
    run("mail_account", address="mod@acme.example")
    wanted = desired(
        tenant(
            "acme",
            account("mod@acme.example", line=14),
            alias("taro@acme.example", "x@y.example", line=21),
            "new@acme.example",
        ),
        plans=ONE.plans,
    )
    for check in (True, False):
        failed = sync(wanted, check=check)
        first, *lines = failed["msg"].splitlines()
        assert first == "Nothing was changed."
        assert [line.split(": ")[0] for line in lines] == ["addresses/acme.yml:14", "addresses/acme.yml:21"]
    accounts = run("mail_info", gather_subset=["accounts"])["accounts"]
    assert accounts.keys() == {"taro@acme.example", "mod@acme.example"}


def test_the_fuse(sync: Run) -> None:
    sync(desired(tenant("acme", *(f"u{number}@acme.example" for number in range(5)))))
    for check in (True, False):
        assert "say expect_closed: 5" in sync(desired(tenant("acme")), check=check, purge=True)["msg"]
    assert sync(desired(tenant("acme")), purge=True, expect_closed=5)["counts"]["closed"] == 5
    assert not sync(desired(tenant("acme")), purge=True, expect_closed=5)["changed"]


def test_a_limited_run(sync: Run) -> None:
    sync(desired(tenant("acme", "a@acme.example"), tenant("bolt", "b@bolt.example")))
    result = sync(desired(tenant("acme", "a@acme.example", "c@acme.example")), tenants=["acme"], purge=True)
    assert result["addresses"] == ["c@acme.example"]
    assert result["undeclared"] == []
    assert sync(desired(tenant("acme", "a@acme.example", "c@acme.example")))["undeclared"] == ["bolt"]


def test_lists_are_cut(sync: Run) -> None:
    result = sync(desired(tenant("acme", *(f"u{number:03}@acme.example" for number in range(150)))))
    assert len(result["addresses"]) == 100
    assert result["counts"]["created"] == 150


def test_passwords_are_set_once_or_enforced(sync: Run, place: Dsn, tmp_path: Path) -> None:
    def stored() -> str | None:
        with closing(connect(place)) as connection:
            return Store(connection).load().accounts["taro@acme.example"].password

    def declared(plain: str) -> Desired:
        return desired(tenant("acme", account("taro@acme.example", password=plain)))

    key = tmp_path / "key"
    sync(declared("first"))
    first = stored()
    assert first is not None
    assert first.startswith("{ARGON2ID}")
    assert not sync(declared("second"))["changed"]
    missing = sync(declared("second"), update_password="always", fingerprint_key=str(key))
    assert missing["msg"].startswith(f"{key}: ")
    key.write_text("secret key")
    options: dict[str, Any] = {"update_password": "always", "fingerprint_key": str(key)}
    result = expect(
        sync,
        declared("second"),
        block("taro@acme.example", password_by="user"),
        block("taro@acme.example", password="******** (new)"),
        **options,
    )
    assert "second" not in json.dumps(result)
    second = stored()
    assert second != first
    assert sync(declared("third"), **options)["changed"]
    assert stored() != second
    # No longer enforced: it belongs to the user again.
    expect(sync, declared("third"), block("taro@acme.example"), block("taro@acme.example", password_by="user"))


def test_a_run_beside_another_says_so(sync: Run, place: Dsn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_directory_module, "locked", partial(locked, patience=1))
    with closing(connect(place)) as connection, locked(connection):
        assert "another run holds the directory" in sync(ONE)["msg"]
        assert sync(ONE, check=True)["changed"]


def test_what_postgresql_says_of_a_row_is_not_shown(sync: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its detail has the whole row, with the hash."""

    def refuse(store: Store, _changes: object, _grace: int) -> None:
        store.connection.execute(
            "INSERT INTO directory.account (tenant_id, state, password) VALUES (1, 'wrong', 'hash of a password')"
        )

    monkeypatch.setattr(Store, "apply", refuse)
    failed = sync(ONE)
    assert "violates check constraint" in failed["msg"]
    assert "hash of a password" not in json.dumps(failed)


@pytest.mark.parametrize("text", ["", "{", '{"format": 99}', '{"format": 1}'])
def test_a_document_that_is_none(run: Run, text: str) -> None:
    assert run("mail_directory", document=text)["msg"].startswith("cannot read the document: ")


def test_without_its_action_plugin_it_has_nothing_to_do(run: Run) -> None:
    assert "action plugin" in run("mail_directory")["msg"]


def test_an_unknown_grace(sync: Run) -> None:
    assert sync(ONE, grace="a month")["msg"].startswith('grace: "a month" is not a duration')


def test_who_has_no_password_is_named_until_there_is_one(sync: Run) -> None:
    silent = desired(tenant("acme", "taro@acme.example", account("hanako@acme.example", password="x")))
    for check in (True, False, False):
        (warning,) = sync(silent, check=check)["warnings"]
        assert warning == (
            "1 account has no password, so nobody can log in: taro@acme.example; write one among the secrets, or set "
            "it with mailhosting password ADDRESS on the host"
        )
    given = desired(tenant("acme", *(account(f"{name}@acme.example", password="x") for name in ("taro", "hanako"))))
    assert sync(given)["warnings"] == []
