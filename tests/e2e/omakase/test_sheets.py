# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings sheets of the Omakase server service, as its customers get them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..clients import User
from ..control import Control
from ..logins.test_settings_sheet import Printed, type_in
from .test_omakase import SATO, USERS, domain

pytestmark = pytest.mark.usefixtures("no_failures_yet")

OPTIONAL = {"en": "STARTTLS or none", "ja": "STARTTLS／なし"}
SENDING = {
    "en": {"submission": "SMTP AUTH", "smtp": "SMTP AUTH or POP before SMTP"},
    "ja": {"submission": "SMTP認証", "smtp": "SMTP認証またはPOP before SMTP"},
}


@pytest.fixture(scope="module")
def sheets(control: Control, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "sheets"
    options = {"sheets_formats": ["html"], "sheets_languages": [*SENDING], "sheets_with_password": True}
    assert "Files written: " in control.playbook("sheets", sheets_dir=str(folder), **options)
    assert "changed=0" in control.playbook("sheets", sheets_dir=str(folder), **options)
    return folder


def sheet(sheets: Path, user: User, language: str) -> Path:
    return sheets / domain(user).partition(".")[0] / f"{user.address}.{language}.html"


@pytest.mark.requirement("OM-7")
@pytest.mark.parametrize("language", SENDING)
@pytest.mark.parametrize("plan", USERS)
def test_a_sheet_says_what_the_plan_has(sheets: Path, variables: dict[str, Any], plan: str, language: str) -> None:
    user, quota = USERS[plan]
    html = sheet(sheets, user, language).read_text()
    printed = Printed(html)
    assert printed.user == user
    assert f"{quota} MB" in html
    own = {"pop3": f"pop3.{domain(user)}", "smtp": f"smtp.{domain(user)}", "submission": f"smtp.{domain(user)}"}
    expected = {(protocol, own[protocol], OPTIONAL[language]) for protocol in own}
    if plan in ("secure", "premium"):
        expected.add(("pop3s", variables["mail_hostname"], "SSL/TLS"))
    assert {(line.protocol, line.server, line.security) for line in printed.lines} == expected
    for protocol, how in SENDING[language].items():
        assert printed.authentications[protocol] == how
    assert user.address.replace("@", "%") in html
    assert "APOP" not in html


def test_what_is_printed_logs_in(sheets: Path, variables: dict[str, Any], ca_file: str) -> None:
    printed = Printed(sheet(sheets, SATO, "en").read_text())
    assert len(printed.lines) == 3
    for line in printed.lines:
        type_in(line, printed.user, variables, ca_file)


def test_passwords_on_sheets_are_for_their_owner_alone(sheets: Path) -> None:
    made = [*sheets.rglob("*")]
    assert len([path for path in made if path.suffix == ".html"]) >= 2 * len(USERS)
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (sheets, *made) if path.is_dir()} == {0o700}
