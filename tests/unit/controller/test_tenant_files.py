# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders of an inventory: the result of reading them, and every mistake with its line."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import (
    PLAN_DEFAULTS,
    UNSET,
    Account,
    Alias,
    Autoreply,
    Domain,
    Forward,
    Tenant,
)
from ansible_collections.mailhosting.stack.plugins.plugin_utils._tenant_files import schema

from .tree import FILES, Tree

LOCAL_PART = (
    "is not a local part: 1 to 64 of a-z 0-9 . _ : -, with no hyphen first and dots and colons only between others"
)
SIZE = "is not a size: bytes from 1, or a number with K, M or G (powers of 1024), such as 50M; null for no limit"
NOT_GIVEN = "encrypted, and no vault password was given (--vault-id, --vault-password-file, --ask-vault-pass)"
NOT_OPENED = "encrypted, and none of the given vault passwords opens it"


def line(place: str, *rest: str) -> str:
    return ": ".join((place, *rest))


def test_what_a_sound_inventory_is_read_to(tree: Tree) -> None:
    read = tree.read()
    assert (read.problems, read.warnings) == ([], [])
    assert read.desired.plans == tree.plans
    assert read.desired.tenants["acme"] == Tenant(
        "acme",
        plan="basic",
        domains={"acme.example": Domain("acme.example", line=3)},
        accounts={
            "taro@acme.example": Account("taro", "acme.example", password="correct horse", line=3),
            "ken@acme.example": Account("ken", "acme.example", forward=Forward(("ken@home.example",)), line=4),
        },
        aliases={
            "sales@acme.example": Alias("sales", "acme.example", ("taro@acme.example", "ken@acme.example"), line=6),
        },
        file="tenants/acme.yml",
        addresses_file="addresses/acme.yml",
        line=1,
    )
    assert read.desired.tenants["bolt"].addresses_file == ""


def test_every_key(tree: Tree) -> None:
    tree.write({
        "tenants/acme.yml": """\
plan: basic
overrides: {mailbox_quota: 50M, max_account_quota: 1G, max_accounts: null, protocols: [submission, pop3],
  cleartext_auth: true}
state: no_login
addresses_managed_by: inventory
domains:
  acme.example: {hostnames: [POP3.acme.example, smtp.acme.example], catch_all: Taro}
  日本語.example: {hostnames: [], catch_all: a..b@docomo.ne.jp}
""",
        "addresses/acme.yml": """\
acme.example:
  accounts:
    hanako: {password_hash: "{SSHA}38HhBsgdBT/Dv8Jjn14NU5yOjnVz", quota: 100M, state: suspended, restore: false}
    jiro: {forward: null, quota: 1G, renamed_from: Jirou}
    ken: {forward: {to: [Ken+x@Home.example, hanako], keep: false}}
    taro: {forward: {to: jiro}}
日本語.example: {aliases: {no: no@acme.example}}
""",
    })  # fmt: skip
    read = tree.read()
    acme = read.desired.tenants["acme"]
    assert read.problems == []
    assert acme.overrides == {
        "mailbox_quota": 52428800,
        "max_account_quota": 1073741824,
        "max_accounts": None,
        "protocols": ["pop3", "submission"],
        "cleartext_auth": True,
    }
    assert (acme.state, acme.addresses_managed_by) == ("no_login", "inventory")
    assert acme.domains["acme.example"].hostnames == ("pop3.acme.example", "smtp.acme.example")
    assert [domain.catch_all for domain in acme.domains.values()] == ["taro@acme.example", "a..b@docomo.ne.jp"]
    hanako, jiro, ken, taro = (acme.accounts[f"{name}@acme.example"] for name in ("hanako", "jiro", "ken", "taro"))
    assert (hanako.password_hash, hanako.quota, hanako.state) == (
        "{SSHA}38HhBsgdBT/Dv8Jjn14NU5yOjnVz",
        104857600,
        "suspended",
    )
    assert (hanako.restore, hanako.forward) == (False, UNSET)
    assert (jiro.forward, jiro.quota, jiro.renamed_from) == (None, 1073741824, "jirou")
    assert ken.forward == Forward(("ken+x@home.example", "hanako@acme.example"), keep=False)
    assert (taro.forward, taro.quota) == (Forward(("jiro@acme.example",)), UNSET)
    assert acme.aliases["no@xn--wgv71a119e.example"].targets == ("no@acme.example",)


AWAY = """\
acme.example:
  accounts:
    taro: {{autoreply: {{body: Away., {} }}}}
"""


def window(tree: Tree, dates: str, time_zone: str = "UTC") -> tuple[str | None, str | None]:
    """Begin and end of taro's automatic reply in UTC, from its dates in the file."""
    tree.write({"addresses/acme.yml": AWAY.format(dates)})
    read = tree.read(time_zone=time_zone)
    assert read.problems == []
    autoreply = read.desired.tenants["acme"].accounts["taro@acme.example"].autoreply
    assert isinstance(autoreply, Autoreply)
    moments = (autoreply.start, autoreply.end)
    start, end = (None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in moments)
    return start, end


@pytest.mark.parametrize(
    ("dates", "time_zone", "expected"),
    [
        ("from: 2027-04-28, until: 2027-05-06", "UTC", ("2027-04-28 00:00", "2027-05-07 00:00")),
        ("from: 2027-04-28, until: 2027-05-06", "Asia/Tokyo", ("2027-04-27 15:00", "2027-05-06 15:00")),
        ("from: 2027-04-28, until: 2027-04-28", "Asia/Tokyo", ("2027-04-27 15:00", "2027-04-28 15:00")),
        # Clocks go forward on the first day and back on the last one: 23 and 25 hours.
        ("from: 2027-03-28, until: 2027-03-28", "Europe/Berlin", ("2027-03-27 23:00", "2027-03-28 22:00")),
        ("from: 2027-10-31, until: 2027-10-31", "Europe/Berlin", ("2027-10-30 22:00", "2027-10-31 23:00")),
        ("from: 2027-04-28", "Asia/Tokyo", ("2027-04-27 15:00", None)),
        ("until: '2027-05-06'", "Asia/Tokyo", (None, "2027-05-06 15:00")),
        # A time with an offset is the same in every zone.
        ("from: '2027-04-28T17:30:00+09:00'", "America/New_York", ("2027-04-28 08:30", None)),
    ],
)
def test_dates_of_an_automatic_reply_are_days_where_the_customers_are(
    tree: Tree, dates: str, time_zone: str, expected: tuple[str | None, str | None]
) -> None:
    assert window(tree, dates, time_zone) == expected


def test_another_time_zone_is_another_day_for_a_file_that_is_known(tree: Tree) -> None:
    utc, tokyo = (window(tree, "from: 2027-04-28", zone) for zone in ("UTC", "Asia/Tokyo"))
    assert (utc, tokyo) == (("2027-04-28 00:00", None), ("2027-04-27 15:00", None))
    assert window(tree, "from: 2027-04-28") == utc


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        ("from: 2027-05-06, until: 2027-05-05", 'until: "2027-05-05" is before from: "2027-05-06"'),
        ("from: tomorrow", 'from: "tomorrow" is neither a date, such as 2026-12-28, nor a time with its offset'),
        ("until: '2027-05-06T12:00:00'", 'until: "2027-05-06T12:00:00" is neither'),
        ("until: 2027-02-30", 'until: "2027-02-30" is neither'),
        ("until: 9999-12-31", 'until: "9999-12-31" is neither'),
    ],
)
def test_dates_that_are_none(tree: Tree, dates: str, message: str) -> None:
    tree.write({"addresses/acme.yml": AWAY.format(dates)})
    (said,) = tree.lines()
    assert said.startswith(f"addresses/acme.yml:3: acme.example.accounts.taro.autoreply: {message}")


@pytest.mark.parametrize("name", ["Asia/Edo", "JST+9?", "", "Asia", "../../etc/passwd", "/etc/localtime"])
def test_a_time_zone_that_is_none(tree: Tree, name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone that is known here, such as Asia/Tokyo or UTC"):
        tree.read(time_zone=name)


@pytest.mark.parametrize("name", ["no", "001", "12:30", "null", "on", "1e3", "0x1f", "2026-11-21"])
def test_names_are_what_is_written(tree: Tree, name: str) -> None:
    tree.write({
        "addresses/acme.yml": f"acme.example:\n  accounts:\n    {name}:\n  aliases:\n    to: [{name}]\n",
        "secrets/acme.yml": f"{name}@acme.example: 0123\n",
    })  # fmt: skip
    read = tree.read()
    acme = read.desired.tenants["acme"]
    assert read.problems == []
    assert [(item.local_part, item.password) for item in acme.accounts.values()] == [(name, "0123")]
    assert acme.aliases["to@acme.example"].targets == (f"{name}@acme.example",)


def accounts(text: str) -> str:
    return f"acme.example:\n  accounts:\n    {text}\n"


BAD_ADDRESSES = {
    "unknown key": (
        accounts("ken: {vacation: x}"),
        line(
            "addresses/acme.yml:3",
            "acme.example.accounts.ken.vacation",
            "unknown key; known here: state, quota, password_hash, forward, autoreply, renamed_from, restore",
        ),
    ),
    "unknown section": (
        "acme.example:\n  lists: {}\n",
        line("addresses/acme.yml:2", "acme.example.lists", "unknown key; known here: accounts, aliases"),
    ),
    "duplicate key": (
        accounts("taro:\n    taro:"),
        line("addresses/acme.yml:4", "acme.example.accounts.taro", "duplicate key, first on line 3"),
    ),
    "duplicate address": (
        accounts("taro:\n    Taro:"),
        line("addresses/acme.yml:4", "acme.example.accounts.Taro", '"Taro" is the same as line 3'),
    ),
    "account and alias": (
        accounts("taro:\n  aliases:\n    taro: [ken@home.example]"),
        line(
            "addresses/acme.yml:5",
            "acme.example.aliases.taro",
            '"taro@acme.example" is already an account (addresses/acme.yml:3)',
        ),
    ),
    "another tenant's domain": (
        "acme.example:\nbolt.example:\n  accounts: {taro: , ken: }\n",
        line(
            "addresses/acme.yml:2",
            "bolt.example",
            '"bolt.example" is a domain of tenant bolt (tenants/bolt.yml), not of acme',
        ),
    ),
    "nobody's domain": (
        "free.example: {}\n",
        line(
            "addresses/acme.yml:1",
            "free.example",
            '"free.example" is not a domain of tenant acme: add it to domains in tenants/acme.yml',
        ),
    ),
    "alias loop": (
        "acme.example:\n  aliases:\n    a: [b]\n    b: [a]\n",
        line(
            "addresses/acme.yml:4",
            "acme.example.aliases.b[0]",
            "mail goes round in a loop: a@acme.example -> b@acme.example -> a@acme.example; name another target here",
        ),
    ),
    "too many accounts": (
        accounts("{a: , b: , c: , d: , e: ,\n     f: }"),
        line(
            "addresses/acme.yml:4",
            "acme.example.accounts.f",
            "6 accounts and aliases, and plan basic allows tenant acme 5 (max_accounts)",
        ),
    ),
    "size": (
        accounts("ken: {quota: 50 Megs}"),
        line("addresses/acme.yml:3", "acme.example.accounts.ken.quota", f'"50 Megs" {SIZE}'),
    ),
    "broken YAML": (
        accounts("taro:\n   ken:"),
        line("addresses/acme.yml:4", "broken YAML: did not find expected key (while parsing a block mapping)"),
    ),
    "long local part": (
        accounts(f"{'a' * 300}:"),
        line(
            "addresses/acme.yml:3",
            f"acme.example.accounts.{'a' * 40}… (300 characters)",
            f'"{"a" * 40}… (300 characters)" {LOCAL_PART}',
        ),
    ),
    "path": (
        accounts("../../etc/passwd:"),
        line("addresses/acme.yml:3", "acme.example.accounts.../../etc/passwd", f'"../../etc/passwd" {LOCAL_PART}'),
    ),
    "SQL": (
        accounts("a'; drop table--:"),
        line("addresses/acme.yml:3", "acme.example.accounts.a'; drop table--", f'"a\'; drop table--" {LOCAL_PART}'),
    ),
    "control characters": (
        accounts('"a\\e[2J\\n":'),
        line("addresses/acme.yml:3", "acme.example.accounts.a\\x1b[2J\\n", f'"a\\x1b[2J\\n" {LOCAL_PART}'),
    ),
    "no address": (
        accounts("ken:\n      forward:\n        to:\n          - ken@"),
        line(
            "addresses/acme.yml:6",
            "acme.example.accounts.ken.forward.to[0]",
            '"ken@" is not an address: local part, @, domain',
        ),
    ),
    "target twice": (
        "acme.example:\n  aliases:\n    a:\n    - x@home.example\n    - X@home.example\n",
        line("addresses/acme.yml:5", "acme.example.aliases.a[1]", '"x@home.example" is in this list twice'),
    ),
    "no targets": (
        "acme.example:\n  aliases:\n    a: []\n",
        line("addresses/acme.yml:3", "acme.example.aliases.a", "the list is empty"),
    ),
    "target with structure": (
        "acme.example:\n  aliases:\n    a: [{to: x}]\n",
        line("addresses/acme.yml:3", "acme.example.aliases.a[0]", "a mapping is not a text"),
    ),
    "forward without target": (
        accounts("ken: {forward: {keep: true}}"),
        line(
            "addresses/acme.yml:3",
            "acme.example.accounts.ken.forward",
            "needs the key to with an address or a list of them; null for no forwarding",
        ),
    ),
    "keep": (
        accounts("ken: {forward: {to: x@home.example, keep: yes}}"),
        line("addresses/acme.yml:3", "acme.example.accounts.ken.forward.keep", '"yes" is neither true nor false'),
    ),
    "state": (
        accounts("ken: {state: closed}"),
        line(
            "addresses/acme.yml:3", "acme.example.accounts.ken.state", '"closed" is none of active, no_login, suspended'
        ),
    ),
    "a password in the wrong place": (
        accounts("ken: hunter2"),
        line("addresses/acme.yml:3", "acme.example.accounts.ken", "a text is not a mapping (key: value)"),
    ),
    "list of accounts": (
        accounts("- ken"),
        line("addresses/acme.yml:3", "acme.example.accounts", "a list is not a mapping (key: value)"),
    ),
    "plan": (
        "plan: gold\nacme.example:\n",
        line(
            "addresses/acme.yml:1",
            "plan",
            "belongs in the tenant's own file, which is the operator's; this file has domains",
        ),
    ),
    "plan's key of an account": (
        accounts("ken: {mailbox_quota: 5G}"),
        line(
            "addresses/acme.yml:3",
            "acme.example.accounts.ken.mailbox_quota",
            "unknown key; known here: state, quota, password_hash, forward, autoreply, renamed_from, restore",
        ),
    ),
    "encrypted address": (
        "acme.example:\n  aliases:\n    a: !vault x\n",
        line("addresses/acme.yml:3", "acme.example.aliases.a", "only a password or a password_hash may be encrypted"),
    ),
}


@pytest.mark.parametrize(("text", "expected"), BAD_ADDRESSES.values(), ids=BAD_ADDRESSES.keys())
def test_bad_addresses(tree: Tree, text: str, expected: str) -> None:
    (tree.root / "secrets/acme.yml").unlink()
    tree.write({"addresses/acme.yml": text})
    assert tree.lines() == [expected]
    assert tree.lines() == [expected]  # the second time from the cache


BAD_TENANTS = {
    "unknown plan": ("plan: gold", line("tenants/bolt.yml:1", "plan", '"gold" is not a plan; plans: basic')),
    "no plan": ("state: active", line("tenants/bolt.yml:1", "plan", "missing: every tenant has a plan")),
    "empty": ("", line("tenants/bolt.yml:1", "plan", "missing: every tenant has a plan")),
    "plan in a list": ("plan: [basic]", line("tenants/bolt.yml:1", "plan", "a list is not a text")),
    "unknown key": (
        "plan: basic\nlanguages: ja",
        line(
            "tenants/bolt.yml:2",
            "languages",
            "unknown key; known here: plan, overrides, state, addresses_managed_by, language, contacts, domains",
        ),
    ),
    "unknown override": (
        "plan: basic\noverrides:\n  quota: 5M",
        line("tenants/bolt.yml:3", "overrides.quota", f"unknown key; known here: {', '.join(PLAN_DEFAULTS)}"),
    ),
    "former name of an override": (
        "plan: basic\noverrides:\n  max_forwards: 5",
        line("tenants/bolt.yml:3", "overrides.max_forwards", "is called max_forward_targets since 0.2.0"),
    ),
    "former names in an override": (
        "plan: basic\noverrides:\n  mass_mail: {same_content: 5}",
        line(
            "tenants/bolt.yml:3",
            "overrides.mass_mail",
            "is called bulk_mail since 0.2.0; same_content: is called recipients_per_content since 0.2.0",
        ),
    ),
    "override": (
        "plan: basic\noverrides: {mailbox_quota: 50 Megs}",
        line("tenants/bolt.yml:2", "overrides.mailbox_quota", f'"50 Megs" {SIZE}'),
    ),
    "state": (
        "plan: basic\nstate: gone",
        line("tenants/bolt.yml:2", "state", '"gone" is none of active, no_login, suspended, closed'),
    ),
    "domain of another tenant": (
        "plan: basic\ndomains:\n  ACME.example:",
        line(
            "tenants/bolt.yml:3",
            "domains.acme.example",
            '"acme.example" is already a domain of tenant acme (tenants/acme.yml)',
        ),
    ),
    "old name beside the new one": (
        "plan: basic\ndomains:\n  bolt.example: {renamed_from: BULB.example}\n  bulb.example:",
        line(
            "tenants/bolt.yml:3",
            "domains.bolt.example.renamed_from",
            '"bulb.example" is still a domain (tenants/bolt.yml:4): take out one of the two',
        ),
    ),
    "two domains of one": (
        "plan: basic\ndomains:\n  a.example: {renamed_from: bulb.example}\n  b.example: {renamed_from: bulb.example}",
        line(
            "tenants/bolt.yml:4",
            "domains.b.example.renamed_from",
            '"bulb.example" is renamed to "a.example" too (tenants/bolt.yml:3): take out one of the two',
        ),
    ),
    "domain": (
        "plan: basic\ndomains:\n  bolt_1.example:",
        line(
            "tenants/bolt.yml:3",
            "domains.bolt_1.example",
            '"bolt_1.example" is not a domain: labels of 1 to 63 letters, digits and hyphens, at least two, '
            "253 characters in all, such as acme.example",
        ),
    ),
}


@pytest.mark.parametrize(("text", "expected"), BAD_TENANTS.values(), ids=BAD_TENANTS.keys())
def test_bad_tenants(tree: Tree, text: str, expected: str) -> None:
    tree.write({"tenants/bolt.yml": text})
    assert tree.lines() == [expected]


BAD_SECRETS = {
    "no account": (
        "taro@acme.example: x\njiro@acme.example: hunter2\n",
        line(
            "secrets/acme.yml:2",
            "jiro@acme.example",
            "no account of tenant acme in addresses/acme.yml has this address",
        ),
    ),
    "an alias": (
        "sales@acme.example: hunter2\n",
        line(
            "secrets/acme.yml:1",
            "sales@acme.example",
            "no account of tenant acme in addresses/acme.yml has this address",
        ),
    ),
    "twice": (
        "taro@acme.example: hunter2\ntaro@acme.example: hunter2\n",
        line("secrets/acme.yml:2", "taro@acme.example", "duplicate key, first on line 1"),
    ),
    "nothing": (
        "taro@acme.example:\n",
        line(
            "secrets/acme.yml:1",
            "taro@acme.example",
            "a text is needed; put it in quotes if it looks like something else",
        ),
    ),
    "too long": (
        f"taro@acme.example: {'hunter2' * 100}\n",
        line(
            "secrets/acme.yml:1",
            "taro@acme.example",
            "not a password (not shown): 1 to 248 bytes (RFC 2449), no control characters",
        ),
    ),
    "the wrong way round": (
        "hunter2: taro@acme.example\n",
        line("secrets/acme.yml:1", "the key on this line (not shown) is not an address: local part, @, domain"),
    ),
    "broken YAML": (
        "taro@acme.example: %hunter2\n",
        line("secrets/acme.yml:1", "broken YAML (not shown): a password with special characters needs quotes"),
    ),
    "alias of YAML": (
        "taro@acme.example: *hunter2\n",
        line("secrets/acme.yml:1", "broken YAML (not shown): a password with special characters needs quotes"),
    ),
    "no mapping": ("hunter2\n", line("secrets/acme.yml:1", "not a mapping (address: password)")),
}


@pytest.mark.parametrize(("text", "expected"), BAD_SECRETS.values(), ids=BAD_SECRETS.keys())
def test_bad_secrets_are_never_shown(tree: Tree, text: str, expected: str) -> None:
    tree.write({"secrets/acme.yml": text})
    assert tree.lines() == [expected]
    assert "hunter2" not in expected


def test_password_and_hash(tree: Tree) -> None:
    tree.write({"addresses/acme.yml": accounts("taro:\n      password_hash: '{SSHA}38HhBsgdBT/Dv8Jjn14NU5yOjnVz'")})
    assert tree.lines() == [
        line(
            "addresses/acme.yml:3",
            "acme.example.accounts.taro.password_hash",
            '"taro@acme.example" also has a password among the secrets: keep one of the two',
        )
    ]


def test_a_password_in_clear_is_no_hash(tree: Tree) -> None:
    tree.write({"addresses/acme.yml": accounts("jiro:\n      password_hash: '{PLAIN}hunter2'"), "secrets/acme.yml": ""})
    (text,) = tree.lines()
    assert text.startswith("addresses/acme.yml:4: acme.example.accounts.jiro.password_hash: {PLAIN} is no hash")
    assert "keep it among the secrets" in text
    assert "hunter2" not in text


def test_all_mistakes_of_all_files_at_once(tree: Tree) -> None:
    tree.write({
        "tenants/acme.yml": FILES["tenants/acme.yml"] + "color: red\nstate: on\n",
        "tenants/bolt.yml": "plan: [",
        "addresses/acme.yml": FILES["addresses/acme.yml"] + "    x y: [a]\n    b: [c@]\n",
        "secrets/acme.yml": "a: b\nnobody@acme.example: x\n",
    })  # fmt: skip
    assert [text.split(": ")[0] for text in tree.lines()] == [
        "addresses/acme.yml:7",
        "addresses/acme.yml:8",
        "secrets/acme.yml:1",
        "secrets/acme.yml:2",
        "tenants/acme.yml:4",
        "tenants/acme.yml:5",
        "tenants/bolt.yml:2",
    ]


def test_addresses_and_secrets_have_a_renamed_domains_new_name(tree: Tree) -> None:
    tree.write({"tenants/acme.yml": "plan: basic\ndomains: {new.example: {renamed_from: acme.example}}\n"})
    message = '"acme.example" is renamed to "new.example" in tenants/acme.yml: write new.example here too'
    assert tree.lines() == [
        line("addresses/acme.yml:1", "acme.example", message),
        line("secrets/acme.yml:1", "taro@acme.example", message),
    ]
    tree.write({name: FILES[name].replace("acme.example", "new.example") for name in FILES if name[0] in "as"})
    assert tree.lines() == []
    assert tree.read().desired.tenants["acme"].domains["new.example"].renamed_from == "acme.example"


@pytest.mark.parametrize("folder", ["addresses", "secrets"])
def test_file_without_a_tenant(tree: Tree, folder: str) -> None:
    tree.write({f"{folder}/cat.yml": ""})
    assert tree.lines() == [f"{folder}/cat.yml:1: there is no tenants/cat.yml for it to belong to"]


def test_a_thousand_and_one_targets(tree: Tree) -> None:
    (tree.root / "secrets/acme.yml").unlink()
    many = ", ".join(f"u{number}@home.example" for number in range(1001))
    tree.write({
        "tenants/acme.yml": FILES["tenants/acme.yml"] + "overrides: {max_forward_targets: null}\n",
        "addresses/acme.yml": f"""\
acme.example:
  accounts:
    ken: {{forward: {{to: [{many}]}}}}
  aliases:
    a: [{many}]
""",
    })  # fmt: skip
    message = "1001 targets, and no address may have more than 1000, whatever its plan says"
    assert tree.lines() == [
        line("addresses/acme.yml:3", "acme.example.accounts.ken.forward.to", message),
        line("addresses/acme.yml:5", "acme.example.aliases.a", message),
    ]
    tree.write({"tenants/acme.yml": FILES["tenants/acme.yml"]})
    message = "1001 targets, and plan basic allows tenant acme 6 (max_forward_targets)"
    assert [text.partition(": ")[2].partition(": ")[2] for text in tree.lines()] == [message, message]


def test_panel_and_an_addresses_file(tree: Tree) -> None:
    (tree.root / "secrets/acme.yml").unlink()
    tree.write({"tenants/acme.yml": FILES["tenants/acme.yml"] + "addresses_managed_by: panel\n"})
    reason = "tenant acme has addresses_managed_by: panel (tenants/acme.yml), so it has no addresses file"
    assert tree.lines() == [f"addresses/acme.yml:1: {reason}"]


def test_broken_tenant_is_the_only_mistake(tree: Tree) -> None:
    """References to a file that cannot be read are not reported as well."""
    tree.write({"tenants/acme.yml": "plan: ["})
    assert [text.split(": ")[0] for text in tree.lines()] == ["tenants/acme.yml:2"]


@pytest.mark.parametrize("name", ["Acme.yml", "a_b.yml", "-x.yml"])
def test_file_names_are_tenants_names(tree: Tree, name: str) -> None:
    tree.write({f"tenants/{name}": "plan: basic"})
    assert tree.lines() == [
        f'tenants/{name}:1: "{name[:-4]}" is not a tenant\'s name: 1 to 40 of a-z 0-9 -, with no hyphen first'
    ]


def test_other_suffix(tree: Tree) -> None:
    tree.write(
        {"tenants/cat.yaml": "plan: basic", "tenants/README.md": "", "tenants/.x.yml": "[", "tenants/acme.yml~": "["}
    )
    assert tree.lines() == ["tenants/cat.yaml:1: is not read: the name of a tenant's file ends in .yml"]


def test_folder_that_looks_like_a_file(tree: Tree) -> None:
    (tree.root / "tenants/cat.yml").mkdir()
    assert tree.lines() == ["tenants/cat.yml:1: is not a file"]


def test_symbolic_link_out_of_the_folder(tree: Tree) -> None:
    (tree.root / "addresses/bolt.yml").symlink_to("../secrets/acme.yml")
    assert tree.lines() == ["addresses/bolt.yml:1: is a symbolic link out of its folder"]


def test_symbolic_link_within_the_folder(tree: Tree) -> None:
    """Container platforms mount files so."""
    (tree.root / "addresses/acme.yml").rename(tree.root / "addresses/.data")
    (tree.root / "addresses/acme.yml").symlink_to(".data")
    assert tree.lines() == []


def test_not_utf8(tree: Tree) -> None:
    (tree.root / "addresses/acme.yml").write_bytes(b"acme.example:\n  accounts: {m\xfcller: }\n")
    assert tree.lines() == ["addresses/acme.yml:2: is not UTF-8"]


def test_byte_order_mark_and_windows_lines(tree: Tree) -> None:
    (tree.root / "addresses/acme.yml").write_bytes(b"\xef\xbb\xbfacme.example:\r\n  accounts:\r\n    taro:\r\n")
    assert tree.lines() == []


def test_pipe_that_looks_like_a_file(tree: Tree) -> None:
    os.mkfifo(tree.root / "addresses/bolt.yml")
    assert tree.lines() == ["addresses/bolt.yml:1: is not a file"]


def test_missing_folder_is_the_only_mistake(tree: Tree) -> None:
    places = {name: str(tree.root / "nowhere" / name) for name in ("tenants", "addresses", "secrets")}
    assert tree.lines(**places) == [
        f"{name}_dir: {path} cannot be read: No such file or directory" for name, path in places.items()
    ]
    assert tree.lines(tenants=places["tenants"]) == [
        f"tenants_dir: {places['tenants']} cannot be read: No such file or directory"
    ]


def test_empty_tenants_folder_declares_nothing(tree: Tree) -> None:
    for name in FILES:
        (tree.root / name).unlink()
    read = tree.read()
    assert (read.desired.tenants, read.problems) == ({}, [])
    assert read.warnings == ["tenants has no tenant's file: nothing is declared"]


def test_no_folders_at_all(tree: Tree) -> None:
    read = tree.read(tenants=None, addresses=None, secrets=None, cache=None)
    assert (read.desired.tenants, read.problems, read.warnings) == ({}, [], [])


def test_limit(tree: Tree) -> None:
    tree.write({"secrets/bolt.yml": tree.encrypt("")})
    read = tree.read(only=["acme"])  # bolt's secrets stay closed
    assert (list(read.desired.tenants), read.problems) == (["acme"], [])
    tree.write({"tenants/bolt.yml": "plan: basic\ndomains: {acme.example: }"})
    assert len(tree.lines(only=["acme"])) == 1


def test_limit_to_nobody(tree: Tree) -> None:
    assert tree.lines(only=["acme", "cat"]) == ['tenants: "cat" has no file in tenants_dir']


def test_vault_password_is_missing(tree: Tree) -> None:
    tree.write({"secrets/acme.yml": tree.encrypt(FILES["secrets/acme.yml"])})
    assert tree.lines() == [f"secrets/acme.yml:1: {NOT_GIVEN}"]


def test_vault_password_is_wrong(tree: Tree) -> None:
    tree.write({"secrets/acme.yml": tree.encrypt(FILES["secrets/acme.yml"]), "secrets/bolt.yml": tree.encrypt("")})
    tree.give_vault_password(b"wrong")
    assert tree.lines() == [f"secrets/acme.yml:1: {NOT_OPENED}; 1 more like this"]


def test_vault_password_is_right(tree: Tree) -> None:
    inline = "!vault |\n" + "".join(f"  {text}\n" for text in tree.encrypt("staple").splitlines())
    tree.write({
        "tenants/acme.yml": tree.encrypt(FILES["tenants/acme.yml"]),
        "secrets/acme.yml": tree.encrypt(f"taro@acme.example: '001'\nken@acme.example: {inline}"),
    })  # fmt: skip
    tree.give_vault_password(b"right")
    read = tree.read()
    assert read.problems == []
    assert [item.password for item in read.desired.tenants["acme"].accounts.values()] == ["001", "staple"]


def test_inline_vault_value_says_where_it_is(tree: Tree) -> None:
    inline = "".join(f"        {text}\n" for text in tree.encrypt("{SSHA}38HhBsgdBT/Dv8Jjn14NU5yOjnVz").splitlines())
    tree.write({
        "addresses/acme.yml": accounts(f"jiro:\n    ken:\n      password_hash: !vault |\n{inline}"),
        "secrets/acme.yml": "",
    })  # fmt: skip
    assert tree.lines() == [f"addresses/acme.yml:5: acme.example.accounts.ken.password_hash: {NOT_GIVEN}"]
    tree.give_vault_password(b"right")
    assert (
        tree.read().desired.tenants["acme"].accounts["ken@acme.example"].password_hash
        == "{SSHA}38HhBsgdBT/Dv8Jjn14NU5yOjnVz"
    )


def test_messages_show_paths_from_where_one_works(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree.root / "secrets/acme.yml").unlink()
    tree.write({"addresses/acme.yml": "a b: {}"})
    monkeypatch.chdir("/")
    relative = str(tree.root).removeprefix("/")
    assert [text.split(":")[0] for text in tree.lines()] == [f"{relative}/addresses/acme.yml"]
    monkeypatch.chdir(tree.root / "secrets")
    assert [text.split(":")[0] for text in tree.lines()] == [f"{tree.root}/addresses/acme.yml"]


def test_plans() -> None:
    plans, problems = schema.plans(
        {"basic": {"mailbox_quota": "20M", "max_accounts": 50}, "free": None}, lambda _: ("plans.yml", 7)
    )
    assert plans == {"basic": {"mailbox_quota": 20971520, "max_accounts": 50}, "free": {}}
    assert problems == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("basic", 'mail_plans: "basic" is not a mapping (key: value)'),
        ({"basic": "20M"}, 'mail_plans.basic: "20M" is not a mapping (key: value)'),
        (
            {False: {}},
            "mail_plans.False: false is not a plan's name: a text of a-z 0-9 _ -, up to 40, a letter or digit first",
        ),
        ({"basic": {"mailbox_quota": "50 Megs"}}, f'mail_plans.basic.mailbox_quota: "50 Megs" {SIZE}'),
        (
            {"basic": {"viruses": None}},
            f"mail_plans.basic.viruses: unknown key; known here: {', '.join(PLAN_DEFAULTS)}",
        ),
        ({"basic": {"mass_mail": None}}, "mail_plans.basic.mass_mail: is called bulk_mail since 0.2.0"),
    ],
)
def test_bad_plans(value: object, message: str) -> None:
    assert [str(problem) for problem in schema.plans(value, lambda _: ("plans.yml", 7))[1]] == [
        f"plans.yml:7: {message}"
    ]
    assert [str(problem) for problem in schema.plans(value, lambda _: ("", 0))[1]] == [message]
