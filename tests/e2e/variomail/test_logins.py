# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How customers of the VarioMail service read and send, and their all@."""

from __future__ import annotations

import time

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, log_in, send, until
from ..omakase.test_pop_before_smtp import AS_POLICY, login_key, own_address, relay
from ..outside import Outside

SABURO = User("saburo@variosecure-net.example", "Vario-Saburo-1")
TANTOU = User("tantou@option.example", "Option-Tantou-1")
YOKO = User("yoko@option.example", "Option-Yoko-2")


@pytest.mark.requirement("VM-4")
@pytest.mark.parametrize("user", [SABURO, TANTOU], ids=lambda user: user.address)
def test_the_login_has_a_percent_sign(server: Server, user: User) -> None:
    login = user._replace(address=user.address.replace("@", "%"))
    for protocol in ("pop3", "pop3s", "submission", "submissions"):
        log_in(server, protocol, login)


@pytest.mark.requirement("VM-10")
def test_a_login_by_pop_opens_relaying_for_half_an_hour(server: Server, host: testinfra.host.Host) -> None:
    key = login_key(own_address(server), YOKO)

    def last_login(seconds_ago: int) -> None:
        host.check_output(f"{AS_POLICY} SET {key} {int(time.time()) - seconds_ago} XX")

    # The account is new: make it older than the logins that this test invents.
    update = "UPDATE directory.account SET login_since = '-infinity'"
    host.check_output(f'runuser -u postgres -- psql --quiet mailhosting --command="{update}"')
    last_login(86400)
    assert relay(server, YOKO.address)[0] == 554
    log_in(server, "pop3", YOKO._replace(address=YOKO.address.replace("@", "%")))
    assert relay(server, YOKO.address)[0] == 250
    assert relay(server, "nobody@option.example")[0] == 554
    last_login(29 * 60)
    assert relay(server, YOKO.address)[0] == 250
    last_login(31 * 60)
    assert relay(server, YOKO.address)[0] == 554
    # A login by SMTP needs no POP login before.
    assert send(server, YOKO, TANTOU.address)


@pytest.mark.requirement("VM-7")
def test_all_reaches_each_account_that_is_not_suspended(
    server: Server, host: testinfra.host.Host, outside: Outside
) -> None:
    def copies(subject: str) -> dict[str, int]:
        """Copies of the mail in each mailbox."""
        found = host.check_output(
            "for who in saburo hanako jiro ken; do cd / && echo $who $(doveadm -f flow fetch"
            f" -u $who@variosecure-net.example hdr.message-id mailbox INBOX header subject {subject} | wc -l); done"
        )
        return {who: int(count) for who, count in (line.split() for line in found.splitlines())}

    subject = send(server, SABURO, "all@variosecure-net.example")
    # KEN's mail is forwarded to SABURO, who still gets one copy; `info` is no member.
    expected = {"saburo": 1, "hanako": 1, "jiro": 0, "ken": 1}
    assert until(lambda: copies(subject) == expected), copies(subject)
    assert outside.mail_to("ken@keitai.example").message["Subject"] == subject
    assert relay(server, "someone@outside.example", "all@variosecure-net.example")[0] == 554
