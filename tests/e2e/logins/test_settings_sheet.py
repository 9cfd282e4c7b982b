# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings sheet: a login with exactly the printed settings works."""

from __future__ import annotations

import imaplib
import poplib
import shutil
import smtplib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import PORTS, Server, TLSContext

from ..clients import LoginRefusedError, User, log_in
from ..control import Control

pytestmark = pytest.mark.usefixtures("no_failures_yet")

TENANT = """\
plan: basic
overrides: {cleartext_auth: true, protocols: [pop3, pop3s, imap, imaps, smtp, submission, submissions]}
domains:
  paper.example: {hostnames: [pop3.paper.example, smtp.paper.example]}
"""
ADDRESSES = "paper.example: {accounts: {dora: , emil: }}\n"
SECRETS = "dora@paper.example: Pen & <Paper>\nemil@paper.example: Case Matters\n"
#: Words on the sheet for security, by the protocols that have it.
SECURITY = {
    "SSL/TLS": {"imaps", "pop3s", "submissions"},
    "STARTTLS or none": {"imap", "pop3", "submission", "smtp"},
}


class Line(NamedTuple):
    protocol: str
    server: str
    port: int
    security: str


class Printed(HTMLParser):
    """A sheet as its reader sees it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self._where = ""
        self._rows: list[dict[str, str]] = []
        self._account = {"login": "", "password": ""}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if "data-protocol" in attributes:
            self._rows.append({"protocol": attributes["data-protocol"] or ""})
        elif tag == "td":
            self._where = attributes.get("id") or (attributes.get("class") or "").split(" ")[0]

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._where = ""

    def handle_data(self, data: str) -> None:
        if self._where in self._account:
            self._account[self._where] += data
        elif self._where and self._rows:
            self._rows[-1][self._where] = data

    @property
    def user(self) -> User:
        return User(self._account["login"], self._account["password"])

    @property
    def authentications(self) -> dict[str, str]:
        """Ways to log in, by protocol."""
        return {row["protocol"]: row["authentication"] for row in self._rows}

    @property
    def lines(self) -> list[Line]:
        return [Line(row["protocol"], row["server"], int(row["port"]), row["security"]) for row in self._rows]


@pytest.fixture(scope="module")
def files(inventories: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's tenants' files and one more."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("tenants", "addresses", "secrets"):
        shutil.copytree(Path(inventories[0]).parent / name, folder / name)
    for name, text in {"tenants": TENANT, "addresses": ADDRESSES, "secrets": SECRETS}.items():
        (folder / name / "paper.yml").write_text(text)
    return folder


class Desk:
    """An operator who onboards customers and sends them their sheets."""

    def __init__(self, control: Control, files: Path) -> None:
        self._control, self.files = control, files

    def tenants(self, **variables: object) -> str:
        return self._control.playbook("tenants", **self._folders(), **variables)

    def sheets(self, **variables: object) -> str:
        return self._control.playbook(
            "sheets", **self._folders(), sheets_dir=str(self.files / "sheets"), sheets_with_password=True, **variables
        )

    def sheet(self, address: str, language: str = "en") -> Path:
        tenant = address.rpartition("@")[2].partition(".")[0]
        return self.files / "sheets" / tenant / f"{address}.{language}.html"

    def _folders(self) -> dict[str, str]:
        return {f"mail_{name}_dir": str(self.files / name) for name in ("tenants", "addresses", "secrets")}


@pytest.fixture(scope="module")
def desk(control: Control, files: Path) -> Iterator[Desk]:
    made = Desk(control, files)
    made.tenants()
    yield made
    (files / "tenants" / "paper.yml").write_text(TENANT + "state: closed\n")
    made.tenants(tenants_grace="0s", tenants_expect_closed=2)


def type_in(line: Line, user: User, variables: dict[str, Any], ca_file: str) -> None:
    """Log in with the settings of one line; the certificate must be that of the printed name."""
    assert line.protocol in SECURITY[line.security]
    assert line.port == PORTS[line.protocol]
    server = Server(variables["ansible_host"], TLSContext(line.server, Path(ca_file).read_text()), timeout=30)
    if line.protocol == "smtp":
        with smtplib.SMTP(server.address, line.port, timeout=30) as session:
            session.starttls(context=server.context)
            session.login(*user)
    else:
        log_in(server, line.protocol, user)
    if line.security.endswith("none"):
        in_clear(server, line, user)


def in_clear(server: Server, line: Line, user: User) -> None:
    """Log in without TLS, with the settings of one line."""
    if line.protocol == "pop3":
        maildrop = poplib.POP3(server.address, line.port, timeout=30)
        maildrop.user(user.address)
        maildrop.pass_(user.password)
        maildrop.quit()
    elif line.protocol == "imap":
        with imaplib.IMAP4(server.address, line.port, timeout=30) as mailbox:
            mailbox.login(*user)
    else:
        with smtplib.SMTP(server.address, line.port, timeout=30) as session:
            session.login(*user)


@pytest.mark.parametrize("tls_names", ["shared", "own"])
def test_every_line_logs_in(desk: Desk, variables: dict[str, Any], ca_file: str, tls_names: str) -> None:
    desk.sheets(sheets_tenants=["paper"], sheets_formats=["html"], sheets_tls_names=tls_names)
    printed = Printed(desk.sheet("dora@paper.example").read_text())
    assert printed.user == User("dora@paper.example", "Pen & <Paper>")
    assert {line.protocol for line in printed.lines} == set(PORTS)
    own = {line.server for line in printed.lines} - {variables["mail_hostname"]}
    assert own == {"pop3.paper.example", "smtp.paper.example"}
    for line in printed.lines:
        type_in(line, printed.user, variables, ca_file)


@pytest.mark.requirement("OM-7")
def test_accounts_come_change_and_go_and_their_sheets_say_so(
    desk: Desk, server: Server, variables: dict[str, Any], ca_file: str
) -> None:
    desk.sheets(sheets_formats=["html"], sheets_languages=["en", "ja"], sheets_tenants=["paper"])
    for language in ("en", "ja"):
        assert desk.sheet("emil@paper.example", language).stat().st_mode & 0o777 == 0o600
    addresses, secrets = (desk.files / name / "paper.yml" for name in ("addresses", "secrets"))
    addresses.write_text("paper.example: {accounts: {dora: , fritz: {quota: 7M}}}\n")
    secrets.write_text("dora@paper.example: New Pen\nfritz@paper.example: Ink\n")
    desk.tenants(tenants_update_password="always", tenants_purge=True, tenants_grace="0s")
    before = desk.sheet("dora@paper.example").read_text()
    desk.sheets(sheets_formats=["html"], sheets_tenants=["paper"])
    assert desk.sheet("dora@paper.example").read_text() != before
    for address in ("dora@paper.example", "fritz@paper.example"):
        printed = Printed(desk.sheet(address).read_text())
        for line in printed.lines:
            type_in(line, printed.user, variables, ca_file)
    assert "7 MB" in desk.sheet("fritz@paper.example").read_text()
    with pytest.raises(LoginRefusedError):
        log_in(server, "pop3s", User("emil@paper.example", "Case Matters"))
    assert not desk.sheet("emil@paper.example").exists()
    again = desk.sheets(sheets_formats=["html"], sheets_tenants=["paper"])
    assert "changed=0" in again
