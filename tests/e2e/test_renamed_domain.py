# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A customer's domain is renamed: the mail stays, the logins change, and mail for the old name arrives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, log_in, may_log_in, receive, send, subjects, until
from .control import Control, recap, tenants

pytestmark = pytest.mark.usefixtures("no_failures_yet")

PASSWORD = "a name is but a name"
BEFORE, AFTER = User("nao@before.example", PASSWORD), User("nao@after.example", PASSWORD)
OTHER = User("eri@after.example", PASSWORD)


def write(files: Path, domain: str, renamed_from: str = "", overrides: str = "{}") -> None:
    """Write the customer's three files; `renamed_from` in braces of its domain."""
    (files / "tenants" / "moving.yml").write_text(
        f"plan: basic\noverrides: {overrides}\n"
        f"contacts: {{technical: nao@{domain}}}\ndomains:\n  {domain}: {{{renamed_from}}}\n"
    )
    (files / "addresses" / "moving.yml").write_text(
        f"{domain}:\n  accounts: {{nao: , eri: }}\n  aliases: {{both: [nao, eri]}}\n"
    )
    (files / "secrets" / "moving.yml").write_text(f"nao@{domain}: {PASSWORD}\neri@{domain}: {PASSWORD}\n")


@pytest.fixture(scope="module")
def renamed(server: Server, control: Control, files: Path) -> Iterator[str]:
    """The subject of a mail from before the rename, whose run purges undeclared accounts."""
    write(files, "before.example")
    tenants(control, files)
    old = receive(server, "somebody@outside.example", BEFORE.address)
    assert arrived(server, BEFORE, old)
    write(files, "after.example", "renamed_from: before.example")
    output = tenants(control, files, "--diff", tenants_purge=True)
    assert "renamed_from: before.example" in output
    assert recap(tenants(control, files, tenants_purge=True))["changed"] == 0
    yield old
    with (files / "tenants" / "moving.yml").open("a") as file:
        file.write("state: closed\n")
    tenants(control, files, tenants_grace="0s", tenants_expect_closed=2)


def test_old_mail_is_there_under_the_new_login_alone(server: Server, renamed: str) -> None:
    assert renamed in subjects(server, AFTER)
    log_in(server, "submission", AFTER)
    for protocol in ("imaps", "pop3s", "submission"):
        assert not may_log_in(server, protocol, BEFORE)


@pytest.mark.usefixtures("renamed")
@pytest.mark.parametrize("domain", ["before.example", "after.example"])
@pytest.mark.parametrize("local_part", ["nao", "nao+tag", "both", "postmaster"])
def test_mail_for_either_name_arrives(server: Server, domain: str, local_part: str) -> None:
    assert arrived(server, AFTER, receive(server, "somebody@outside.example", f"{local_part}@{domain}"))


@pytest.mark.usefixtures("renamed")
def test_a_mail_to_both_names_of_an_alias_reaches_everybody(server: Server) -> None:
    subject = send(server, AFTER, "both@before.example")
    assert arrived(server, AFTER, subject)
    assert arrived(server, OTHER, subject)


@pytest.mark.usefixtures("renamed")
def test_nobody_is_there_under_neither_name(server: Server) -> None:
    for domain in ("before.example", "after.example"):
        with protocols.smtp(server, "smtp") as session:
            session.ehlo()
            session.mail("somebody@outside.example")
            assert session.rcpt(f"nobody@{domain}")[0] == 550


@pytest.mark.usefixtures("renamed")
def test_the_old_name_ends(server: Server, control: Control, files: Path, host: testinfra.host.Host) -> None:
    age = "UPDATE directory.former_domain SET renamed_at = now() - interval '90 days'"
    host.check_output(f'runuser -u postgres -- psql -d mailhosting -c "{age}"')

    def refused() -> bool:
        with protocols.smtp(server, "smtp") as session:
            session.ehlo()
            session.mail("somebody@outside.example")
            # An smtpd that has looked the domain up treats it as ours until it ends: 550 instead of 554.
            return session.rcpt(BEFORE.address)[0] in (550, 554)

    assert until(refused)
    assert recap(tenants(control, files))["changed"] == 1
    assert recap(tenants(control, files))["changed"] == 0
    assert arrived(server, AFTER, receive(server, "somebody@outside.example", AFTER.address))
