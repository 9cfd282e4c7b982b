# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of a sheet, by plan and by host names."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Account, effective
from ansible_collections.mailhosting.stack.plugins.plugin_utils._settings_sheet import content

from .build import ALL, PASSWORD, SHARED, sheet, tenant


def lines(shown: content.Sheet) -> dict[str, tuple[int, str, str]]:
    return {
        service.protocol: (service.port, service.security, service.authentication)
        for service in (*shown.receiving, *shown.sending)
    }


@pytest.mark.parametrize(
    ("protocols", "expected"),
    [
        (["pop3", "submission"], ["pop3", "submission"]),
        (["pop3s", "pop3", "smtp", "submissions"], ["pop3s", "pop3", "submissions", "smtp"]),
        (["imap", "imaps", "sieve"], ["imaps", "imap"]),
    ],
)
def test_only_the_plans_protocols_and_the_best_first(protocols: list[str], expected: list[str]) -> None:
    assert list(lines(sheet(protocols=protocols))) == expected


def test_ports_and_security_of_a_plan_that_wants_tls() -> None:
    assert lines(sheet(protocols=ALL["protocols"])) == {
        "imaps": (993, "tls", "password"),
        "pop3s": (995, "tls", "password"),
        "imap": (143, "starttls", "password"),
        "pop3": (110, "starttls", "password"),
        "submissions": (465, "tls", "password"),
        "submission": (587, "starttls", "password"),
        "smtp": (25, "starttls", "password"),
    }


def test_cleartext_is_for_all_ports_that_have_no_tls_at_first() -> None:
    shown = sheet(protocols=ALL["protocols"], cleartext_auth=True)
    assert shown.cleartext
    optional = {name for name, line in lines(shown).items() if line[1] == "starttls_or_none"}
    assert optional == {"pop3", "imap", "submission", "smtp"}


@pytest.mark.parametrize(
    ("protocols", "cleartext_auth", "authentication"),
    [
        (["pop3"], False, "pop_before_smtp"),
        (["pop3"], True, "pop_before_smtp"),
        (["pop3", "smtp"], True, "either"),
        (["pop3", "smtp"], False, "either_by_tls"),
    ],
)
def test_pop_before_smtp_opens_25_without_tls(protocols: list[str], cleartext_auth: bool, authentication: str) -> None:
    shown = sheet(protocols=[*protocols, "submission"], pop_before_smtp=1800, cleartext_auth=cleartext_auth)
    assert lines(shown)["smtp"] == (25, "starttls_or_none", authentication)
    assert lines(shown)["submission"] == (587, "starttls_or_none" if cleartext_auth else "starttls", "password")
    assert shown.pop_before_smtp == 1800


@pytest.mark.parametrize(
    ("protocols", "window", "expected"),
    [
        (["pop3", "imaps", "submission"], None, "APOP (POP3), CRAM-MD5 (IMAP, SMTP)"),
        (["pop3", "smtp"], 1800, "APOP (POP3), CRAM-MD5 (SMTP)"),
        (["pop3"], 1800, "APOP (POP3)"),
        (["imap"], None, "CRAM-MD5 (IMAP)"),
    ],
)
def test_where_other_mechanisms_are_offered(protocols: list[str], window: int | None, expected: str) -> None:
    assert sheet(protocols=protocols, legacy_auth=True, pop_before_smtp=window).other_mechanisms == expected
    assert sheet(protocols=protocols, pop_before_smtp=window).other_mechanisms == ""


def test_a_mechanism_that_smtp_has_before_tls_alone_is_on_no_sheet() -> None:
    plan: dict[str, Any] = {"protocols": ["pop3", "imap", "submission"], "legacy_auth": True, "cleartext_auth": True}
    shown = {where: sheet(challenge_auth=where, **plan).other_mechanisms for where in content.CHALLENGE_AUTH}
    assert shown == {"before_tls": "APOP (POP3), CRAM-MD5 (IMAP)", "everywhere": "APOP (POP3), CRAM-MD5 (IMAP, SMTP)"}


def test_a_hash_that_was_brought_has_no_secret_for_other_mechanisms() -> None:
    owner = tenant()
    owner.accounts["taro@acme.example"].password_hash = "{SSHA512}abc"
    assert (sheet(legacy_auth=True).legacy_auth, sheet(owner, legacy_auth=True).legacy_auth) == (True, False)


def test_the_login_for_programs_without_an_at_sign() -> None:
    assert sheet().percent_login == "taro%acme.example"


def servers(tls_names: str, *hostnames: str, **domains: tuple[str, ...]) -> dict[str, str]:
    shown = sheet(tenant(*hostnames, **domains), tls_names, protocols=ALL["protocols"])
    return {service.protocol: service.server for service in (*shown.receiving, *shown.sending)}


def test_without_own_names_the_shared_one_is_everywhere() -> None:
    assert set(servers("own").values()) == {SHARED}


def test_own_names_by_protocol() -> None:
    names = servers("shared", "pop3.acme.example", "smtp.acme.example")
    assert (names["pop3"], names["submission"], names["smtp"]) == ("pop3.acme.example", *["smtp.acme.example"] * 2)
    assert {names[protocol] for protocol in ("imap", "imaps", "pop3s", "submissions")} == {SHARED}


def test_own_names_for_tls_too() -> None:
    names = servers("own", "mail.acme.example", "imap.acme.example", "www.acme.example")
    assert (names["imaps"], names["imap"]) == ("imap.acme.example",) * 2
    assert {names[protocol] for protocol in ("pop3", "pop3s", "submissions")} == {"mail.acme.example"}


def test_names_of_the_accounts_own_domain_come_first() -> None:
    assert servers("own", "mail.acme.example", shop=("pop3.shop.example",))["pop3"] == "mail.acme.example"
    assert servers("own", shop=("pop3.shop.example",))["pop3"] == "pop3.shop.example"


@pytest.mark.parametrize(("of_plan", "expected"), [(None, 50 << 20), (20 << 20, 20 << 20), (60 << 20, 50 << 20)])
def test_the_smaller_limit_of_a_message_counts(of_plan: int | None, expected: int) -> None:
    assert sheet(max_message_size=of_plan).message_limit == expected


def test_attachments_grow_on_their_way() -> None:
    shown = sheet(max_message_size=20 << 20)
    # The service's own manual says 13 to 18 MB of 20.
    assert shown.attachment_limit is not None
    assert 14 << 20 < shown.attachment_limit < 15 << 20


def test_quota_of_the_account_before_the_plans() -> None:
    owner = tenant()
    assert sheet(owner, mailbox_quota=50 << 20).mailbox_quota == 50 << 20
    owner.accounts["taro@acme.example"].quota = None
    assert sheet(owner, mailbox_quota=50 << 20).mailbox_quota is None


def test_password_only_if_asked() -> None:
    assert sheet().password is None
    assert sheet(with_password=True).password == PASSWORD


@pytest.mark.parametrize(
    ("tenants_state", "accounts_state", "plan", "expected"),
    [
        ("active", "active", {}, None),
        ("suspended", "active", {}, "tenant acme has the state suspended"),
        ("active", "no_login", {}, "has the state no_login"),
        ("active", "active", {"protocols": ["sieve"]}, "no protocol of a mail program"),
        ("active", "active", {"protocols": [], "pop_before_smtp": 60}, None),
    ],
)
def test_who_cannot_log_in_gets_no_sheet(
    tenants_state: str, accounts_state: str, plan: dict[str, Any], expected: str | None
) -> None:
    owner = tenant()
    owner.state = tenants_state
    reason = content.obstacle(owner, Account("taro", "acme.example", state=accounts_state), effective(plan, {}))
    assert (reason is None) if expected is None else (reason is not None and expected in reason)
