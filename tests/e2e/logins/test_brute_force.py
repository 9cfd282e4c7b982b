# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guessing passwords: fail2ban blocks that login from that client, or the client; never its neighbours."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, may_log_in, reachable, until
from ..control import Control
from .guessing import banned, guess, limit

PROTOCOLS = ("pop3", "pop3s", "imap", "imaps", "sieve", "submission", "submissions")
DENIED = "/run/fail2ban/denied-logins"


@pytest.fixture(autouse=True)
def protected(host: testinfra.host.Host, no_failures_yet: None) -> Iterator[None]:  # noqa: ARG001
    yield
    host.check_output("systemctl start fail2ban && fail2ban-client unban --all")


def guess_and_be_shut_out(server: Server, login: str) -> None:
    """Make the last allowed guess: its reply comes, but none to QUIT."""
    guess(replace(server, timeout=10), "submission", [login])


def may_log_in_from(host: testinfra.host.Host, address: str, user: User) -> bool:
    """Whether Dovecot would accept a login of `user` from this address."""
    asked = ["doveadm", "auth", "test", "-x", f"rip={address}", "-x", "service=imap", *user]
    return bool(host.run(shlex.join(asked)).rc == 0)


def told(host: testinfra.host.Host) -> str:
    """The jails' view of the failed logins, for the message of a failed test."""
    jails = "for jail in mail-tried mail-address; do fail2ban-client status $jail; done"
    return str(
        host.check_output(f"{jails}; journalctl --unit=dovecot --unit=fail2ban --since=-3min --output=short-precise")
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_guessed_login_is_refused_to_this_client_alone(
    server: Server, host: testinfra.host.Host, bill: User, taro: User, protocol: str
) -> None:
    guess(server, protocol, [bill.address] * (limit(host, "mail-login") - 1))
    assert may_log_in(server, protocol, bill)

    guess(server, protocol, [bill.address])
    assert until(lambda: bool(banned(host, "mail-login")))

    assert until(lambda: not may_log_in(server, protocol, bill), 5)
    assert may_log_in(server, protocol, taro)
    assert may_log_in_from(host, "192.0.2.7", bill)
    assert not banned(host, "mail-address")

    host.check_output(f"fail2ban-client set mail-login unbanip {banned(host, 'mail-login')[0]}")
    assert until(lambda: may_log_in(server, protocol, bill), 5)


@pytest.mark.timing
def test_a_pause_holds_for_every_protocol_and_ends_by_itself(
    server: Server, host: testinfra.host.Host, bill: User
) -> None:
    usual = host.check_output("fail2ban-client get mail-login bantime")
    host.check_output("fail2ban-client set mail-login bantime 12")
    try:
        guess(server, "imaps", [bill.address] * limit(host, "mail-login"))
        assert until(lambda: not may_log_in(server, "imaps", bill), 5)
        # With the right password, and oftener than a wrong one is allowed: that must not prolong the block.
        tries = PROTOCOLS * 2
        with ThreadPoolExecutor(len(tries)) as pool:
            assert not any(pool.map(lambda protocol: may_log_in(server, protocol, bill), tries))
        assert until(lambda: not banned(host, "mail-login"), 30)
        assert until(lambda: may_log_in(server, "imaps", bill), 5)
        assert until(lambda: may_log_in(server, "submission", bill), 1)
    finally:
        host.check_output(f"fail2ban-client set mail-login bantime {usual}")


def test_a_long_login_is_counted_too(server: Server, host: testinfra.host.Host, tenant: Control) -> None:
    """Dovecot's log shortens a long login."""
    user = User(f"{'long.' * 11}login@e2e.example", "as long as it is broad")
    tenant.module("mail_account", address=user.address, password=user.password)
    assert may_log_in(server, "imaps", user)
    guess(server, "imaps", [user.address] * limit(host, "mail-login"))
    assert until(lambda: not may_log_in(server, "imaps", user), 5)


def test_a_login_is_counted_however_it_is_written(server: Server, host: testinfra.host.Host, bill: User) -> None:
    """An input method may leave letters wide; that gives a guesser no further tries."""
    wide = bill._replace(address="ｂｉｌｌ＠ｂｏｌｔ。ｅｘａｍｐｌｅ")
    assert may_log_in(server, "imaps", wide)
    tries = limit(host, "mail-login")
    guess(server, "imaps", [(bill, wide)[number % 2].address for number in range(tries)])
    assert until(lambda: not may_log_in(server, "imaps", bill), 5)
    assert not may_log_in(server, "imaps", wide)
    assert [login.partition(",")[0] for login in banned(host, "mail-login")] == [bill.address]


@pytest.mark.timing
def test_an_old_password_in_a_program_does_not_make_the_neighbours_wait(
    server: Server, host: testinfra.host.Host, bill: User, taro: User
) -> None:
    """Dovecot's own penalty would, and Postfix gives up after ten seconds of it."""
    for _time in range(2):
        guess(server, "imaps", [bill.address] * (limit(host, "mail-login") - 1))
        host.check_output("fail2ban-client unban --all")
        assert until(lambda: may_log_in(server, "submission", taro), 2)


def test_guessing_many_logins_shuts_the_client_out_of_mail_and_nothing_else(
    server: Server, host: testinfra.host.Host, bill: User
) -> None:
    logins = [f"guess-{number}@acme.example" for number in range(limit(host, "mail-address"))]
    guess(server, "imaps", logins[:-1])
    # Guesses of one login count once.
    guess(server, "submission", logins[:5])
    assert not until(lambda: not reachable(server, 993), 2)

    guess_and_be_shut_out(server, logins[-1])
    # fail2ban reads its own log for this, after Dovecot's.
    assert until(lambda: not reachable(server, 993)), told(host)
    assert not any(reachable(server, port) for port in (25, 110, 143, 465, 587, 995, 4190))
    assert reachable(server, 22)

    host.check_output("fail2ban-client unban --all")
    assert until(lambda: reachable(server, 993))
    assert may_log_in(server, "imaps", bill)


def test_guessing_over_ipv6_is_counted_by_network(
    server: Server, server_over_ipv6: Server, host: testinfra.host.Host, bill: User, taro: User
) -> None:
    guess(server_over_ipv6, "imaps", [bill.address] * limit(host, "mail-login"))
    assert until(lambda: not may_log_in(server_over_ipv6, "imaps", bill), 5)
    assert not may_log_in(server_over_ipv6, "submission", bill)
    assert may_log_in(server_over_ipv6, "imaps", taro)
    assert may_log_in(server, "imaps", bill)

    others = [f"guess-{number}@acme.example" for number in range(limit(host, "mail-address") - 1)]
    guess(server_over_ipv6, "imaps", others[:-1])
    guess_and_be_shut_out(server_over_ipv6, others[-1])
    assert until(lambda: not reachable(server_over_ipv6, 993)), told(host)
    assert reachable(server, 993)


@pytest.mark.parametrize(
    "login",
    [
        "$(touch /tmp/intruder)@acme.example", "`touch /tmp/intruder`", "a;touch /tmp/intruder", "../../etc/passwd",
        "bill@bolt.example,192.0.2.9", "bill@bolt.example\nmx1 dovecot[1]: x", "'\"<HOST>", "%(touch)s",
    ],
)  # fmt: skip
def test_what_a_login_says_reaches_no_command_and_no_file(
    server: Server, host: testinfra.host.Host, login: str
) -> None:
    guess(server, "imaps", [login] * (limit(host, "mail-login") + 1))

    assert until(lambda: bool(banned(host, "mail-tried")))
    assert not banned(host, "mail-login")
    assert not host.file("/tmp/intruder").exists  # noqa: S108
    assert host.file(DENIED).size == 0


def test_without_fail2ban_nobody_stays_shut_out(server: Server, host: testinfra.host.Host, bill: User) -> None:
    guess(server, "imaps", [bill.address] * limit(host, "mail-login"))
    assert until(lambda: host.file(DENIED).size > 0)
    host.check_output("fail2ban-client set mail-address banip 192.0.2.9")
    assert until(lambda: "192.0.2.9" in host.check_output("nft list ruleset"))

    host.check_output("systemctl kill --signal=KILL --kill-whom=main fail2ban && systemctl stop fail2ban")

    assert not host.file(DENIED).exists
    assert "f2b" not in host.check_output("nft list ruleset")
    assert until(lambda: may_log_in(server, "imaps", bill), 5)
    host.check_output("systemctl start fail2ban")
    assert until(lambda: not may_log_in(server, "imaps", bill), 20)
