# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forbidden acts of the units of every host, tried from inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import testinfra

from . import sandbox
from .sandboxes import NO_MAIL, PROGRAMS, QUEUE, SANDBOXES, forbidden


@pytest.fixture(scope="module", autouse=True)
def mail_in_each_folder(host: testinfra.host.Host) -> Iterator[None]:
    folders = ("/var/vmail", *(f"/var/spool/postfix/{folder}" for folder in QUEUE))
    files = " ".join(f"{folder}/{NO_MAIL}" for folder in folders)
    host.check_output(f"touch {files}")
    yield
    host.check_output(f"rm {files}")


@pytest.mark.parametrize(
    ("unit", "act"),
    forbidden(
        "postfix.service",
        "dovecot.service",
        "mailhosting-remove-mailboxes.service",
        "mailhosting-retention@run.service",
        "mailhosting-usage.service",
        "mailhosting-password@x.service",
        "mailhosting-end-sessions@x.service",
        "mailhosting-directory-away.service",
        "postsrsd.service",
        "fail2ban.service",
    ),
)
def test_a_sandbox_forbids_it(tried: Callable[[str], sandbox.Tried], unit: str, act: str) -> None:
    sandbox.refused(SANDBOXES[unit], tried(unit), act)


@pytest.mark.parametrize(
    "unit",
    [
        "mailhosting-retention@run.service",
        "mailhosting-usage",
        "mailhosting-password@x.service",
        "mailhosting-end-sessions@x.service",
        "mailhosting-directory-away",
    ],
)
def test_a_sandbox_is_strict(host: testinfra.host.Host, unit: str) -> None:
    sandbox.is_strict(host, unit)


@pytest.mark.parametrize("unit", PROGRAMS)
def test_a_unit_has_the_sandbox_of_programs_and_what_is_excepted(host: testinfra.host.Host, unit: str) -> None:
    assert sandbox.shown(host, unit) == sandbox.expected(SANDBOXES[unit])
