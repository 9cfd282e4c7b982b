# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator's day: a customer's files arrive with mistakes, are corrected, and the daemons apply them."""

from __future__ import annotations

import contextlib
import poplib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import LoginRefusedError, User, arrived, log_in, may_log_in, receive, until
from ..control import Control, RunFailedError, recap, reloads, tenants
from ..test_tls import names

pytestmark = pytest.mark.usefixtures("no_failures_yet")

CARA = User("cara@corp.example", "Wednesday's child")
TENANT = """\
plan: basic
overrides: {cleartext_auth: true, protocols: [pop3, pop3s, smtp, submission]}
domains:
  corp.example: {hostnames: [pop3.corp.example]}
"""
ADDRESSES = """\
corp.example:
  accounts:
    cara:
    "12:30": {forward: {to: [cara], keep: false}}
    "no":
"""


@pytest.fixture(scope="module")
def onboard(control: Control, files: Path) -> Iterator[Control]:
    yield control
    (files / "tenants" / "corp.yml").write_text(TENANT + "state: closed\n")
    tenants(control, files, tenants_grace="0s", tenants_expect_closed=4)


def test_mistakes_are_told_all_at_once_and_nothing_changes(server: Server, onboard: Control, files: Path) -> None:
    (files / "tenants" / "corp.yml").write_text(TENANT)
    (files / "addresses" / "corp.yml").write_text(
        "corp.example:\n  accounts:\n    cara: {quota: 50 Megs}\n    cara:\nacme.example:\n  accounts: {eve: }\n"
    )
    with pytest.raises(RunFailedError) as refused:
        tenants(onboard, files)
    said = str(refused.value)
    assert "addresses/corp.yml:3: corp.example.accounts.cara.quota" in said
    assert "addresses/corp.yml:4: corp.example.accounts.cara" in said
    assert "addresses/corp.yml:5: acme.example" in said
    assert not may_log_in(server, "pop3s", CARA)


@pytest.mark.requirement("OM-2", "AS-10")
def test_a_customer_with_a_host_name_and_old_clients(
    server: Server, onboard: Control, files: Path, ca_file: str, bill: User, host: testinfra.host.Host
) -> None:
    (files / "tenants" / "corp.yml").write_text(TENANT)
    (files / "addresses" / "corp.yml").write_text(ADDRESSES)
    (files / "secrets" / "corp.yml").write_text(
        f'{CARA.address}: "{CARA.password}"\n12:30@corp.example: lunch\nno@corp.example: means no\n'
    )
    reloaded = reloads(host)
    output = tenants(onboard, files, "--diff")
    # Once each, and Postfix last: its processes would keep their connections to the Dovecot that ends.
    assert reloads(host) == [*reloaded, "dovecot", "postfix"]
    assert CARA.password not in output
    assert "pop3.corp.example" in names(server, "pop3s", "pop3.corp.example", ca_file)
    assert "pop3.corp.example" in names(server, "submissions", "pop3.corp.example", ca_file)
    for protocol in ("pop3", "pop3s", "submission"):
        log_in(server, protocol, CARA)
    # A password without TLS works for this customer alone.
    in_clear(server, CARA)
    with pytest.raises(poplib.error_proto, match="TLS"):
        in_clear(server, bill)
    with pytest.raises(LoginRefusedError, match="plan"):
        log_in(server, "imaps", CARA)
    assert recap(tenants(onboard, files))["changed"] == 0


@pytest.mark.usefixtures("onboard")
def test_auth_on_port_25_is_for_the_logins_own_sender(server: Server, bill: User) -> None:
    with protocols.smtp(server, "smtp") as session:
        session.starttls(context=server.context)
        session.ehlo()
        session.login(*CARA)
        session.mail(bill.address)
        assert session.rcpt(bill.address)[0] == 553
        session.rset()
        session.mail(CARA.address)
        assert session.rcpt(bill.address)[0] == 250


def in_clear(server: Server, user: User) -> None:
    """Log in by POP3 on port 110 without STLS."""
    session = poplib.POP3(server.address, 110, timeout=10)
    try:
        session.user(user.address)
        session.pass_(user.password)
    finally:
        session.close()


@pytest.mark.usefixtures("onboard")
def test_names_that_look_like_something_else_are_names(server: Server) -> None:
    for user in (User("12:30@corp.example", "lunch"), User("no@corp.example", "means no")):
        log_in(server, "pop3s", user)
    # RFC 5321 4.1.2: a colon is no atext, so the local part is a quoted string on the wire.
    assert pop3_arrived(server, CARA, receive(server, "someone@outside.example", '"12:30"@corp.example'))


def pop3_arrived(server: Server, user: User, subject: str) -> bool:
    """Whether the mail is there, for a user whose plan has no IMAP."""

    def there() -> bool:
        with contextlib.closing(protocols.pop3(server, "pop3s")) as session:
            session.user(user.address)
            session.pass_(user.password)
            heads = [b"\n".join(session.top(number + 1, 0)[1]) for number in range(session.stat()[0])]
        return any(subject.encode() in head for head in heads)

    return until(there)


def test_one_more_account_reloads_nothing(
    server: Server, onboard: Control, files: Path, host: testinfra.host.Host
) -> None:
    started = "systemctl show --property=ActiveEnterTimestamp,ExecMainStartTimestamp,NRestarts dovecot postfix"
    before = host.check_output(started)
    reloaded = reloads(host)
    (files / "addresses" / "corp.yml").write_text(ADDRESSES + "    dora:\n")
    with (files / "secrets" / "corp.yml").open("a") as secrets:
        secrets.write("dora@corp.example: explorer\n")
    assert recap(tenants(onboard, files))["changed"] == 1
    log_in(server, "pop3s", User("dora@corp.example", "explorer"))
    assert host.check_output(started) == before
    assert reloads(host) == reloaded


def test_a_vanished_file_closes_nobody(server: Server, onboard: Control, files: Path) -> None:
    for folder in ("tenants", "addresses", "secrets"):
        (files / folder / "corp.yml").rename(files / f"{folder}.away")
    try:
        output = tenants(onboard, files, "--diff", tenants_purge=True)
        assert recap(output)["changed"] == 0, output
        log_in(server, "pop3s", CARA)
    finally:
        for folder in ("tenants", "addresses", "secrets"):
            (files / f"{folder}.away").rename(files / folder / "corp.yml")


def test_check_mode_says_what_would_be_and_does_nothing(server: Server, onboard: Control, files: Path) -> None:
    (files / "addresses" / "corp.yml").write_text(ADDRESSES + "    dora: {state: suspended}\n")
    output = tenants(onboard, files, "--check", "--diff")
    assert "suspended" in output
    assert recap(output)["changed"] == 1
    log_in(server, "pop3s", User("dora@corp.example", "explorer"))


def test_verification_fails_when_something_is_off(
    control: Control, host: testinfra.host.Host, server: Server, bill: User
) -> None:
    # Without the errors that earlier tests caused on purpose.
    assert "All is well." in control.playbook("verify", verify_since="now")
    assert "no conversation: --check" in control.playbook("verify", "--check", "--diff", verify_since="now")
    host.check_output("systemctl stop dovecot")
    try:
        with pytest.raises(RunFailedError) as failed:
            control.playbook("verify")
    finally:
        host.check_output("systemctl start dovecot")
    assert re.search(r"FAIL +read by imaps", str(failed.value))
    assert re.search(r"FAIL +services run +dovecot is inactive", str(failed.value))
    assert arrived(server, bill, receive(server, "someone@outside.example", bill.address))
