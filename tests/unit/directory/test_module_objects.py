# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules for one object: in check mode, for real, and again; and what they must not change."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import views
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.install import install
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import to_document
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, Store, connect

from .build import HASH, OTHER_HASH, account, alias, desired, forward, tenant
from .conftest import Run, See

TARO = "taro@acme.example"


def expect(run: Run, module: str, **options: Any) -> dict[str, Any]:
    """Check mode reports what the run then does, and a second run changes nothing."""
    dry = run(module, check=True, **options)
    real = run(module, **options)
    again = run(module, **options)
    assert "msg" not in real, real
    assert dry == real
    assert real["changed"]
    assert real["diff"]["before"] != real["diff"]["after"]
    assert not again["changed"], again
    assert again["diff"] == {"before": "", "after": ""}
    assert "argon2id" not in json.dumps([dry, real, again])
    return real


def refused(run: Run, module: str, **options: Any) -> str:
    """The error message, which is the same in check mode."""
    dry, real = run(module, check=True, **options), run(module, **options)
    assert dry["msg"] == real["msg"]
    message: str = real["msg"]
    return message


def row(place: Dsn, address: str = TARO) -> Any:
    with closing(connect(place)) as connection:
        return Store(connection).load().accounts.get(address)


@pytest.fixture
def acme(sync: Run, run: Run) -> None:
    """The plans, and a tenant of origin `module`."""
    sync(desired())
    run("mail_tenant", name="acme", plan="basic", domains=[{"name": "acme.example"}])


@pytest.fixture
def files(sync: Run) -> None:
    """A tenant of origin `inventory`."""
    taro = account(TARO, password_hash=HASH, forward=forward("x@elsewhere.example"))
    sync(desired(tenant("acme", taro, "jiro@acme.example", alias("sales@acme.example", TARO))))


# mail_tenant


def test_a_tenant_from_beginning_to_end(run: Run, sync: Run) -> None:
    sync(desired())
    domains = [{"name": "Acme.Example", "hostnames": ["Mail.Acme.Example"]}]
    made = expect(run, "mail_tenant", name="acme", plan="basic", domains=domains)
    assert made["settings"] == ["tenant acme", "domain acme.example"]
    expect(run, "mail_tenant", name="acme", plan="large", overrides={"mailbox_quota": "50M"})
    expect(run, "mail_tenant", name="acme", state="suspended")
    assert not run("mail_tenant", name="acme")["changed"]
    info = run("mail_info", gather_subset=["tenants"])["tenants"]["acme"]
    assert (info["plan"], info["overrides"], info["state"]) == ("large", {"mailbox_quota": 50 << 20}, "suspended")
    assert info["domains"] == {"acme.example": ["mail.acme.example"]}
    expect(run, "mail_tenant", name="acme", overrides={}, state="active", domains=[{"name": "acme.example"}])
    expect(run, "mail_tenant", name="acme", state="absent")
    assert run("mail_info", gather_subset=["tenants"])["tenants"] == {}


@pytest.mark.usefixtures("acme")
def test_a_tenant_with_mail_is_closed_first(run: Run, see: See) -> None:
    for name in ("taro", "jiro", "ken"):
        run("mail_account", address=f"{name}@acme.example")
    run("mail_alias", address="sales@acme.example", targets=["taro"])
    gone = expect(run, "mail_tenant", name="acme", state="absent", grace="0s")
    assert gone["counts"]["closed"] == 3
    for (number,) in see("vmail", "SELECT account_id FROM v1.expired_mailbox"):
        see("vmail", "SELECT v1.forget_mailbox(%s)", number)
    assert expect(run, "mail_tenant", name="acme", state="absent")["counts"]["removed"] == 1
    assert see("mailhosting", "SELECT FROM directory.tenant") == []


@pytest.mark.usefixtures("acme")
def test_closing_many_accounts_has_to_be_meant(run: Run) -> None:
    for number in range(11):
        run("mail_account", address=f"u{number}@acme.example")
    assert "say expect_closed: 11" in refused(run, "mail_tenant", name="acme", state="closed")
    assert expect(run, "mail_tenant", name="acme", state="closed", expect_closed=11)["counts"]["closed"] == 11


@pytest.mark.usefixtures("acme")
def test_a_domain_with_addresses_stays(run: Run) -> None:
    run("mail_account", address=TARO)
    result = run("mail_tenant", name="acme", domains=[])
    assert not result["changed"]
    assert result["undeclared"] == ["acme.example"]
    assert "1 addresses are left in it" in result["warnings"][0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "new"}, "tenant new does not exist yet: a new one needs a plan"),
        ({"name": "new", "plan": "gold"}, '"gold" is not a plan; plans: basic, large'),
        ({"name": "New!", "plan": "basic"}, 'name: "New!" is not a tenant\'s name'),
        ({"name": "acme", "overrides": {"mailbox_quota": "50 Megs"}}, "overrides: mailbox_quota: "),
        ({"name": "acme", "overrides": {"speed": 1}}, "overrides: speed: unknown key"),
        ({"name": "acme", "overrides": {"mass_mail": None}}, "overrides: mass_mail: is called bulk_mail since 0.2.0"),
        ({"name": "acme", "domains": [{"name": "no domain"}]}, 'domains: "no domain" is not a domain'),
        ({"name": "acme", "hold": [{"scope": "send", "reason": "x", "until": "soon"}]}, 'hold: until: "soon"'),
        ({"name": "acme", "hold": [{"scope": "send", "reason": "x"}], "release": ["send"]}, "each scope"),
        (
            {"name": "bolt", "plan": "basic", "domains": [{"name": "acme.example"}]},
            "belongs to tenant acme, made by a module",
        ),
    ],
)
@pytest.mark.usefixtures("acme")
def test_what_a_tenant_cannot_be(run: Run, options: dict[str, Any], said: str) -> None:
    assert said in run("mail_tenant", **options)["msg"]


@pytest.mark.usefixtures("files")
def test_a_tenant_of_the_files_can_only_be_held(run: Run) -> None:
    said = "tenant acme was declared in the inventory's files; change its files and run mail_directory"
    for options in (
        {"state": "suspended"},
        {"plan": "large"},
        {"overrides": {"max_forward_targets": 1}},
        {"state": "absent"},
    ):
        assert said in refused(run, "mail_tenant", name="acme", **options)
    assert not run("mail_tenant", name="acme", plan="basic", state="active")["changed"]
    expect(run, "mail_tenant", name="acme", hold=[{"scope": "send", "reason": "spam"}])
    expect(run, "mail_tenant", name="acme", release=["send"])


@pytest.mark.usefixtures("acme")
def test_a_closed_tenant_opens_again_and_its_accounts_are_asked_about(run: Run) -> None:
    run("mail_account", address=TARO)
    run("mail_tenant", name="acme", state="absent")
    expect(run, "mail_tenant", name="acme")
    assert "restore: true" in refused(run, "mail_account", address=TARO)
    expect(run, "mail_account", address=TARO, restore=True)


# mail_account


@pytest.mark.usefixtures("acme")
def test_an_account_from_beginning_to_end(run: Run, place: Dsn) -> None:
    made = expect(run, "mail_account", address="Taro@Acme.example", password="correct horse")
    assert made["counts"]["created"] == 1
    first = row(place)
    assert first.origin == "module"
    expect(run, "mail_account", address=TARO, quota="5M")
    expect(run, "mail_account", address=TARO, quota="none")
    assert row(place).quota == 0
    expect(run, "mail_account", address=TARO, quota="plan")
    expect(run, "mail_account", address=TARO, forward={"to": ["x@elsewhere.example"], "keep": False})
    expect(run, "mail_account", address=TARO, state="suspended")
    assert not run("mail_account", address=TARO)["changed"]
    assert row(place) == first._replace(state="suspended", forward_to=["x@elsewhere.example"], forward_keep=False)
    expect(run, "mail_account", address=TARO, forward={"to": []}, state="active")
    assert row(place) == first
    renamed = expect(run, "mail_account", address="t.yamada@acme.example", renamed_from="taro")
    assert renamed["counts"]["renamed"] == 1
    assert row(place, "t.yamada@acme.example").id == first.id
    closed = expect(run, "mail_account", address="t.yamada@acme.example", state="absent")
    assert closed["counts"]["closed"] == 1
    assert row(place, "t.yamada@acme.example") is None


@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.usefixtures("acme")
def test_a_closed_account(run: Run, place: Dsn, restore: bool) -> None:
    run("mail_account", address=TARO, password="correct horse", quota="5M")
    before = row(place)
    run("mail_account", address=TARO, state="absent")
    assert "restore: true gives it back" in refused(run, "mail_account", address=TARO)
    expect(run, "mail_account", address=TARO, restore=restore)
    assert (row(place) == before) is restore


@pytest.mark.usefixtures("acme")
def test_who_has_no_password_is_named(run: Run) -> None:
    def said(**options: Any) -> list[str]:
        dry, real = (run("mail_account", check=check, address=TARO, **options)["warnings"] for check in (True, False))
        assert dry == real
        return list(real)

    silent = (
        f"1 account has no password, so nobody can log in: {TARO}; give `password`, or set it with "
        "mailhosting password ADDRESS on the host"
    )
    assert said() == said(quota="5M") == [silent]
    # These accounts need no login.
    assert said(state="no_login") == said(state="active", forward={"to": ["x@home.example"], "keep": False}) == []
    assert said(quota="6M") == []
    assert said(forward={"to": []}) == [silent]
    assert said(password="correct horse") == said(quota="7M") == []


@pytest.mark.usefixtures("acme")
def test_passwords(run: Run, place: Dsn) -> None:
    def stored() -> Any:
        return row(place).password

    run("mail_account", address=TARO)
    assert stored() is None
    result = expect(run, "mail_account", address=TARO, password="correct horse")
    assert "correct horse" not in json.dumps(result)
    first = stored()
    assert not run("mail_account", address=TARO, password="another")["changed"]
    assert not run("mail_account", address=TARO, password="correct horse", update_password="always")["changed"]
    expect(run, "mail_account", address=TARO, password="another", update_password="always")
    assert stored() != first
    expect(run, "mail_account", address=TARO, password_hash=HASH)
    assert stored() == HASH


@pytest.mark.parametrize("module", ["mail_account", "mail_tenant"])
@pytest.mark.usefixtures("acme")
def test_holds(run: Run, see: See, module: str) -> None:
    run("mail_account", address=TARO)
    which = {"address": TARO} if module == "mail_account" else {"name": "acme"}
    placed = expect(
        run, module, **which, hold=[{"scope": "send", "reason": "ticket 1"}, {"scope": "login", "reason": "x"}]
    )
    assert "send: ticket 1" in placed["diff"]["after"]
    expect(run, module, **which, hold=[{"scope": "send", "reason": "ticket 2", "until": "2100-01-01T00:00:00+00:00"}])
    assert see(
        "mailhosting", "SELECT scope, reason, extract(epoch FROM until)::bigint FROM directory.hold ORDER BY scope"
    ) == [
        ("login", "x", None),
        ("send", "ticket 2", 4102444800),
    ]
    (held,) = [hold for hold in run("mail_info", gather_subset=["holds"])["holds"] if hold["scope"] == "send"]
    assert (held["reason"], held["origin"], held["until"]) == ("ticket 2", "operator", 4102444800)
    expect(run, module, **which, release=["send"])
    assert not run(module, **which, release=["receive"])["changed"]
    assert see("mailhosting", "SELECT scope FROM directory.hold") == [("login",)]


@pytest.mark.usefixtures("acme")
def test_a_hold_survives_everything_but_its_release(run: Run, sync: Run) -> None:
    def held() -> bool:
        return bool(run("mail_info", gather_subset=["holds"])["holds"])

    run("mail_account", address=TARO, hold=[{"scope": "send", "reason": "spam"}])
    run("mail_account", address=TARO, state="suspended")
    run("mail_account", address=TARO, state="active")
    sync(desired(), purge=True)
    run("mail_account", address="new@acme.example", renamed_from="taro")
    run("mail_account", address="new@acme.example", state="absent")
    assert held()
    expect(run, "mail_account", address="new@acme.example", restore=True, release=["send"])
    assert not held()


@pytest.mark.usefixtures("acme")
def test_whom_the_gate_stopped_only_the_gate_releases(run: Run, see: See) -> None:
    run("mail_account", address=TARO, hold=[{"scope": "send", "reason": "spam"}, {"scope": "login", "reason": "x"}])
    ((number,),) = see("postgres", "SELECT account_id FROM directory.address WHERE local_part = 'taro'")
    see("mailhosting-gate", "SELECT v1.gate_stop(%s, 'bulk_mail', '{}')", number)
    said = refused(run, "mail_account", address=TARO, release=["send", "login"])
    assert said == (
        f"{TARO}: release: send: the gate placed this hold (bulk_mail). Nothing was changed. "
        "mail_limits with state=released lifts it, and delivers the held mail"
    )
    assert see("mailhosting", "SELECT scope, origin FROM directory.hold ORDER BY 1, 2") == [
        ("login", "operator"),
        ("send", "gate"),
        ("send", "operator"),
    ]
    expect(run, "mail_account", address=TARO, release=["login"])
    # A hold of the tenant is separate from it.
    expect(run, "mail_tenant", name="acme", hold=[{"scope": "send", "reason": "bill"}])
    expect(run, "mail_tenant", name="acme", release=["send"])
    see("postgres", "SELECT 1 FROM v1.gate_release(%s)", number)
    expect(run, "mail_account", address=TARO, release=["send"])
    assert see("mailhosting", "SELECT scope FROM directory.hold") == []


@pytest.mark.usefixtures("acme")
def test_an_account_is_made_with_its_hold(run: Run) -> None:
    expect(run, "mail_account", address=TARO, hold=[{"scope": "login", "reason": "not yet"}])
    assert len(run("mail_info", gather_subset=["holds"])["holds"]) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"address": "taro"}, 'address: "taro" is not an address'),
        ({"address": "taro@elsewhere.example"}, "no tenant has the domain elsewhere.example"),
        ({"address": TARO, "quota": "50 Megs"}, 'quota: "50 Megs" is not a size'),
        ({"address": TARO, "password": "correct horse", "password_hash": HASH}, "mutually exclusive"),
        ({"address": TARO, "password_hash": "secret"}, "password_hash: not a password hash (not shown)"),
        ({"address": TARO, "password": "change this before the first run"}, "password: a text that stands where"),
        ({"address": TARO, "password_hash": "{PLAIN}Change-me!"}, "password_hash: a text that stands where"),
        ({"address": TARO, "forward": {"to": ["nobody"]}}, '"nobody@acme.example" is neither an account nor an alias'),
        ({"address": TARO, "forward": {"to": ["a b@x.example"]}}, 'forward: "a b" is not a local part'),
        ({"address": "sales@acme.example"}, "is already an alias of tenant acme, made by a module"),
        ({"address": TARO, "forward": {"to": [f"x{number}@y.example" for number in range(9)]}}, "max_forward_targets"),
    ],
)
@pytest.mark.usefixtures("acme")
def test_what_an_account_cannot_be(run: Run, options: dict[str, Any], said: str) -> None:
    run("mail_alias", address="sales@acme.example", targets=["x@elsewhere.example"])
    assert said in run("mail_account", **options)["msg"]


@pytest.mark.usefixtures("acme")
def test_a_plan_counts_for_modules_too(run: Run) -> None:
    run("mail_tenant", name="acme", overrides={"max_accounts": 1})
    run("mail_account", address=TARO)
    assert "allows tenant acme 1 (max_accounts)" in refused(run, "mail_account", address="jiro@acme.example")


@pytest.mark.usefixtures("acme")
def test_no_plan_allows_a_thousand_and_one_targets(run: Run) -> None:
    run("mail_tenant", name="acme", overrides={"max_forward_targets": None})
    targets = [f"u{number}@else.example" for number in range(1001)]
    assert run("mail_alias", address="many@acme.example", targets=targets[:1000])["changed"]
    said = refused(run, "mail_alias", address="many@acme.example", targets=targets)
    assert "acme.example.aliases.many: 1001 targets, and no address may have more than 1000" in said


@pytest.mark.usefixtures("acme")
def test_a_loop_through_contacts_of_tenants_that_a_module_does_not_touch(run: Run, sync: Run) -> None:
    bolt = tenant("bolt", "bill@bolt.example", contacts={"technical": "x@cat.example"})
    cat = tenant("cat", alias("x@cat.example", "y@acme.example"))
    cat.domains["cat.example"].catch_all = "x@cat.example"
    assert sync(desired(bolt, cat))["changed"]
    said = refused(run, "mail_alias", address="y@acme.example", targets=["postmaster@bolt.example"])
    assert "postmaster@bolt.example" in said
    assert "mail goes round in a loop" in said


@pytest.mark.usefixtures("acme")
def test_a_loop_that_a_module_would_close(run: Run) -> None:
    run("mail_tenant", name="bolt", plan="basic", domains=[{"name": "bolt.example"}])
    run("mail_alias", address="a@acme.example", targets=["b@bolt.example"])
    assert "loop" in refused(run, "mail_alias", address="b@bolt.example", targets=["a@acme.example"])


@pytest.mark.usefixtures("files")
def test_an_account_of_the_files_is_changed_in_the_files(run: Run, place: Dsn) -> None:
    before = row(place)
    said = "is an account of tenant acme, declared in the inventory's files"
    refusals: tuple[dict[str, Any], ...] = (
        {"state": "suspended"},
        {"quota": "1M"},
        {"state": "absent"},
        {"password_hash": OTHER_HASH},
        {"password": "x", "update_password": "always"},
        {"forward": {"to": []}},
    )
    for options in refusals:
        assert said in refused(run, "mail_account", address=TARO, **options)
    assert said in refused(run, "mail_account", address="new@acme.example", renamed_from="taro")
    assert not run("mail_account", address=TARO, state="active")["changed"]
    assert row(place) == before


@pytest.mark.usefixtures("files")
def test_what_files_leave_to_the_user_a_module_may_set(run: Run, sync: Run, place: Dsn) -> None:
    jiro = "jiro@acme.example"
    expect(run, "mail_account", address=jiro, password="correct horse", forward={"to": ["taro"]})
    changed = row(place, jiro)
    assert changed.origin == "inventory"
    assert changed.forward == forward(TARO)
    expect(run, "mail_account", address=jiro, hold=[{"scope": "send", "reason": "spam"}])
    taro = account(TARO, password_hash=HASH, forward=forward("x@elsewhere.example"))
    assert not sync(desired(tenant("acme", taro, jiro, alias("sales@acme.example", TARO))))["changed"]
    assert row(place, jiro) == changed


@pytest.mark.usefixtures("files")
def test_a_module_may_add_to_a_tenant_of_the_files(run: Run, sync: Run, place: Dsn) -> None:
    expect(run, "mail_account", address="mod@acme.example")
    expect(run, "mail_alias", address="info@acme.example", targets=["mod", "taro"])
    taro = account(TARO, password_hash=HASH, forward=forward("x@elsewhere.example"))
    wanted = tenant("acme", taro, "jiro@acme.example", alias("sales@acme.example", TARO))
    assert not sync(desired(wanted), purge=True)["changed"]
    # How an account moves into the files: close it here, restore it there.
    number = row(place, "mod@acme.example").id
    run("mail_alias", address="info@acme.example", state="absent")
    run("mail_account", address="mod@acme.example", state="absent")
    mod = account("mod@acme.example", restore=True)
    sync(desired(tenant("acme", taro, "jiro@acme.example", mod, alias("sales@acme.example", TARO))))
    assert (row(place, "mod@acme.example").id, row(place, "mod@acme.example").origin) == (number, "inventory")


@pytest.mark.parametrize("module", ["mail_account", "mail_alias"])
@pytest.mark.usefixtures("acme")
def test_a_closed_tenant_gets_nothing_new(run: Run, module: str) -> None:
    run("mail_tenant", name="acme", state="closed")
    options = {"targets": ["x@elsewhere.example"]} if module == "mail_alias" else {}
    assert "tenant acme is closed" in refused(run, module, address=TARO, **options)
    assert not run(module, address=TARO, state="absent")["changed"]


# mail_alias


@pytest.mark.usefixtures("acme")
def test_an_alias_from_beginning_to_end(run: Run) -> None:
    run("mail_account", address=TARO)
    made = expect(run, "mail_alias", address="Sales@acme.example", targets=["Taro", "x+box@elsewhere.example"])
    assert made["addresses"] == ["sales@acme.example"]
    assert run("mail_info", gather_subset=["aliases"])["aliases"] == {
        "sales@acme.example": {"targets": [TARO, "x+box@elsewhere.example"], "origin": "module"}
    }
    assert not run("mail_alias", address="sales@acme.example")["changed"]
    expect(run, "mail_alias", address="sales@acme.example", targets=["taro"])
    assert expect(run, "mail_alias", address="sales@acme.example", state="absent")["counts"]["removed"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "alias sales@acme.example does not exist yet: a new one needs targets"),
        ({"targets": []}, "targets: an alias needs at least one"),
        ({"targets": ["nobody"]}, '"nobody@acme.example" is neither an account nor an alias'),
        ({"targets": ["sales"]}, "forwards to itself"),
        ({"targets": ["x@"]}, 'targets: "x@" is not an address'),
        ({"address": TARO, "targets": ["x@y.example"]}, "is already an account of tenant acme, made by a module"),
        ({"address": "x@elsewhere.example", "targets": ["x@y.example"]}, "no tenant has the domain elsewhere.example"),
    ],
)
@pytest.mark.usefixtures("acme")
def test_what_an_alias_cannot_be(run: Run, options: dict[str, Any], said: str) -> None:
    run("mail_account", address=TARO)
    assert said in run("mail_alias", **{"address": "sales@acme.example", **options})["msg"]


@pytest.mark.usefixtures("files")
def test_an_alias_of_the_files_is_changed_in_the_files(run: Run) -> None:
    said = "is an alias of tenant acme, declared in the inventory's files"
    assert said in refused(run, "mail_alias", address="sales@acme.example", targets=["jiro"])
    assert said in refused(run, "mail_alias", address="sales@acme.example", state="absent")
    assert not run("mail_alias", address="sales@acme.example", targets=["taro"])["changed"]


@pytest.mark.usefixtures("acme")
def test_no_alias_of_that_name_is_no_account_of_that_name(run: Run, place: Dsn) -> None:
    run("mail_account", address=TARO)
    assert not run("mail_alias", address=TARO, state="absent")["changed"]
    assert row(place) is not None


# Without a directory


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("mail_tenant", {"name": "acme", "plan": "basic"}),
        ("mail_account", {"address": TARO}),
        ("mail_alias", {"address": TARO, "targets": ["x@y.example"]}),
    ],
)
@pytest.mark.parametrize("directory", [True, False])
def test_check_mode_takes_it_that_earlier_tasks_have_run(
    run: Run, module: str, options: dict[str, Any], directory: bool
) -> None:
    where = {} if directory else {"host": "/nowhere"}
    dry = run(module, check=True, **options, **where)
    assert dry["changed"]
    assert "check mode assumes that an earlier task does that" in dry["warnings"][-1]
    assert "failed" in run(module, **options, **where)
    gone = run(module, check=True, state="absent", **options, **where)
    assert not gone["changed"]


# mail_info


@pytest.mark.usefixtures("files")
def test_info_shows_everything_but_secrets(run: Run) -> None:
    subsets = ["plans", "tenants", "accounts", "aliases", "closed", "holds", "host"]
    result = run("mail_info", gather_subset=subsets)
    assert not result["changed"]
    assert result.keys() >= set(subsets)
    assert "argon2" not in json.dumps(result)
    assert result["accounts"][TARO]["has_password"]
    assert result["accounts"][TARO]["forward"] == {"to": ["x@elsewhere.example"], "keep": True}
    assert not result["accounts"]["jiro@acme.example"]["has_password"]
    acme = result["tenants"]["acme"]
    assert (acme["accounts"], acme["aliases"], acme["mailboxes"], acme["over_limit"]) == (2, 1, 2, False)
    assert acme["settings"]["max_forward_targets"] == 6
    assert run("mail_info").keys() >= {"plans", "tenants", "host"}


@pytest.mark.usefixtures("files", "acme_and_bolt")
def test_info_of_some_tenants(run: Run) -> None:
    result = run("mail_info", gather_subset=["tenants", "accounts"], tenants=["bolt"])
    assert list(result["tenants"]) == ["bolt"]
    assert list(result["accounts"]) == ["bill@bolt.example"]
    by_domain = run("mail_info", gather_subset=["tenants", "accounts"], domains=["Bolt.Example"])
    assert (by_domain["tenants"], by_domain["accounts"]) == (result["tenants"], result["accounts"])
    both = run("mail_info", gather_subset=["tenants"], tenants=["acme"], domains=["bolt.example"])["tenants"]
    assert set(both) == {"acme", "bolt"}
    assert run("mail_info", gather_subset=["tenants"], domains=["nobodys.example"])["tenants"] == {}
    assert 'domains: "no domain"' in run("mail_info", domains=["no domain"])["msg"]


@pytest.fixture
def acme_and_bolt(run: Run) -> None:
    run("mail_tenant", name="bolt", plan="basic", domains=[{"name": "bolt.example"}])
    run("mail_account", address="bill@bolt.example")


def test_info_says_who_is_over_a_limit(run: Run, sync: Run) -> None:
    addresses = [TARO, "jiro@acme.example", "postmaster@acme.example"]
    plans = {"basic": {"max_accounts": 2}}
    sync(desired(tenant("acme", *addresses), plans=plans))
    assert not run("mail_info")["tenants"]["acme"]["over_limit"]


def test_info_without_a_directory(run: Run) -> None:
    assert run("mail_info", check=True, host="/nowhere")["tenants"] == {}
    assert "mailhosting.stack.site" in run("mail_info", host="/nowhere")["msg"]


@pytest.mark.usefixtures("acme")
def test_an_automatic_replys_days_are_those_of_the_time_zone(run: Run, place: Dsn) -> None:
    days = {"body": "Away.", "from": "2027-04-28", "until": "2027-05-06"}
    expect(run, "mail_account", address=TARO, autoreply=days)
    assert {key: row(place).autoreply[key] for key in ("start", "end")} == {"start": 1808870400, "end": 1809648000}
    expect(run, "mail_account", address=TARO, autoreply=days, timezone="Asia/Tokyo")
    nine_hours = 9 * 3600
    moments = {"start": 1808870400 - nine_hours, "end": 1809648000 - nine_hours}
    assert {key: row(place).autoreply[key] for key in moments} == moments
    said = refused(run, "mail_account", address=TARO, autoreply=days, timezone="Asia/Edo")
    assert said == 'timezone: "Asia/Edo" is not a time zone that is known here, such as Asia/Tokyo or UTC'


# A directory of another release


@pytest.fixture
def of_another_release(acme: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - made before
    """The directory's tables are this release's, but its views are not."""
    monkeypatch.setattr(views, "REFUSAL", "550 5.2.1 Gone")


@pytest.mark.usefixtures("of_another_release")
@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("mail_tenant", {"name": "acme", "plan": "large"}),
        ("mail_account", {"address": TARO}),
        ("mail_alias", {"address": "info@acme.example", "targets": ["x@elsewhere.example"]}),
        ("mail_directory", {"document": json.dumps(to_document(desired(tenant("bolt"))))}),
        ("mail_legacy_keys", {"step": "add"}),
        ("mail_info", {}),
        ("mail_usage_info", {}),
    ],
)
def test_a_host_of_another_release_wants_site_first(run: Run, see: See, module: str, options: dict[str, Any]) -> None:
    there = "SELECT t.name, t.plan, a.local_part FROM directory.tenant t LEFT JOIN directory.address a ON true"
    before = see("postgres", there)
    said = run(module, **options)["msg"]
    assert said.endswith("Nothing was changed: run the playbook mailhosting.stack.site first")
    assert see("postgres", there) == before


@pytest.mark.usefixtures("of_another_release")
def test_check_mode_says_what_comes_after_site(run: Run, place: Dsn) -> None:
    dry = run("mail_account", check=True, address=TARO)
    (warning,) = [text for text in dry.pop("warnings") if "site" in text]
    assert warning.endswith(
        "run the playbook mailhosting.stack.site first; check mode assumes that an earlier task does that"
    )
    install(place._replace(user="postgres"))
    real = run("mail_account", address=TARO)
    assert not [text for text in real.pop("warnings") if "site" in text]
    assert dry == real
    assert real["changed"]
