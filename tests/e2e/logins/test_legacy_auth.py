# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""APOP, CRAM-MD5, and logins with % for @."""

from __future__ import annotations

import contextlib
import imaplib
import itertools
import json
import poplib
import shlex
import smtplib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import LoginRefusedError, User, arrived, log_in, mechanisms, message, until
from ..control import Control, tenants
from ..traffic import Client, going_on
from .guessing import banned, guess, limit

LEGACY = {
    "legacy_auth": True,
    "cleartext_auth": True,
    "protocols": ["pop3", "pop3s", "imap", "smtp", "submission", "submissions"],
}
SHA = User("sha@legacy.example", "tanstaaf {PLAIN}%{user}")
#: A user whose password several tests set.
NEW = User("new@legacy.example", "tsugi no aikotoba")
HASH_ONLY = User("imported@legacy.example", "a hash is all there is")
KEYS = "/etc/mailhosting/legacy.keys"
#: The login as where @ is not allowed (VM-4), and in capitals.
NAMES = ["sha@legacy.example", "sha%legacy.example", "SHA%Legacy.Example"]


@pytest.fixture(scope="module", autouse=True)
def tenant_with_legacy_auth(control: Control, host: testinfra.host.Host, files: Path) -> Iterator[None]:
    # The daemons offer it because of another tenant: a run over the files alone changes what site.yml would change.
    declared = {"plan": "basic", "overrides": LEGACY, "domains": {"old.example": None}}
    file = files / "tenants" / "old.yml"
    file.write_text(json.dumps(declared))
    tenants(control, files)
    hashed = host.check_output(f"doveadm pw -s SHA512-CRYPT -p '{HASH_ONLY.password}'").strip()
    control.module("mail_tenant", name="legacy", plan="basic", overrides=LEGACY, domains=[{"name": "legacy.example"}])
    control.module("mail_account", address=SHA.address, password=SHA.password)
    control.module("mail_account", address=NEW.address, password=NEW.password)
    control.module("mail_account", address=HASH_ONLY.address, password_hash=hashed)
    yield
    control.module("mail_tenant", name="legacy", state="absent", grace="0s")
    file.write_text(json.dumps(declared | {"state": "closed"}))
    tenants(control, files, tenants_grace="0s")
    file.unlink()
    tenants(control, files, tenants_purge=True)


@pytest.fixture(autouse=True)
def fresh(no_failures_yet: None) -> None:
    """The host has no failed logins of this client."""


def apop(server: Server, user: User, protocol: str = "pop3") -> None:
    try:
        clear = protocol == "pop3 in clear"
        opened = poplib.POP3(server.address, timeout=30) if clear else protocols.pop3(server, protocol)
        with contextlib.closing(opened) as maildrop:
            maildrop.apop(user.address, user.password)
    except poplib.error_proto as error:
        raise LoginRefusedError(str(error)) from error


def smtp_in_clear(server: Server, protocol: str) -> smtplib.SMTP:
    """A session on 25 or 587 after EHLO, without TLS."""
    session = smtplib.SMTP(server.address, protocols.PORTS[protocol], timeout=server.timeout)
    session.ehlo()
    return session


def cram_md5(server: Server, user: User, protocol: str) -> None:
    """Log in by SMTP before TLS, where CRAM-MD5 is offered."""
    try:
        if protocol.startswith("imap"):
            with protocols.imap(server, protocol) as mailbox:
                mailbox.login_cram_md5(*user)
        else:
            with smtp_in_clear(server, protocol) as session:
                session.user, session.password = user
                session.auth("CRAM-MD5", session.auth_cram_md5)
    except (imaplib.IMAP4.error, smtplib.SMTPAuthenticationError) as error:
        raise LoginRefusedError(str(error)) from error


@pytest.mark.requirement("AS-5")
@pytest.mark.requirement("VM-4")
@pytest.mark.parametrize("name", NAMES)
def test_every_way_to_log_in(server: Server, name: str) -> None:
    user = User(name, SHA.password)
    apop(server, user)
    apop(server, user, "pop3s")
    apop(server, user, "pop3 in clear")
    for protocol in ("imap", "submission", "smtp"):
        cram_md5(server, user, protocol)
    for protocol in ("pop3", "pop3s", "imap", "submission", "submissions"):
        log_in(server, protocol, user)


def test_a_login_with_wide_letters_has_its_secret(server: Server) -> None:
    wide = SHA._replace(address="ｓｈａ＠ｌｅｇａｃｙ．ｅｘａｍｐｌｅ")
    apop(server, wide)
    cram_md5(server, wide, "imap")
    for way in (apop, partial(cram_md5, protocol="imap")):
        with pytest.raises(LoginRefusedError):
            way(server, wide._replace(password="wrong"))


def test_smtp_offers_under_tls_what_everybody_can_use(server: Server, taro: User) -> None:
    """Programs such as PHPMailer prefer CRAM-MD5 and try nothing else; most accounts have no secret for it."""
    for protocol in ("submission", "submissions", "smtp"):
        assert mechanisms(server, protocol) == {"PLAIN", "LOGIN"}, protocol
    for protocol in ("submission", "smtp"):
        assert mechanisms(server, protocol, tls=False) == {"PLAIN", "LOGIN", "CRAM-MD5"}, protocol
    for user in (SHA, HASH_ONLY, taro):
        for protocol in ("submission", "submissions"):
            with protocols.smtp(server, protocol) as session:
                best = next(name for name in ("CRAM-MD5", "LOGIN", "PLAIN") if name in session.esmtp_features["auth"])
                session.user, session.password = user
                session.auth(best, getattr(session, f"auth_{best.lower().replace('-', '_')}"))
    with protocols.smtp(server, "submission") as session:
        session.user, session.password = SHA
        with pytest.raises(smtplib.SMTPAuthenticationError, match="Invalid authentication mechanism"):
            session.auth("CRAM-MD5", session.auth_cram_md5)


@pytest.mark.requirement("WA-1")
def test_a_plan_with_smtp_pop3_and_apop_and_no_imap(server: Server, control: Control) -> None:
    domains = [{"name": "legacy.example"}]
    suite = LEGACY | {"protocols": ["pop3", "smtp", "submission"]}
    control.module("mail_tenant", name="legacy", plan="basic", overrides=suite, domains=domains)
    try:
        apop(server, SHA)
        for protocol in ("pop3", "smtp", "submission"):
            log_in(server, protocol, SHA)
        for protocol in ("imap", "imaps"):
            with pytest.raises(LoginRefusedError, match="plan"):
                log_in(server, protocol, SHA)
    finally:
        control.module("mail_tenant", name="legacy", plan="basic", overrides=LEGACY, domains=domains)


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "PLAIN"])
def test_the_sender_belongs_to_whoever_logs_in_with_a_percent_sign(
    server: Server, host: testinfra.host.Host, bill: User, mechanism: str
) -> None:
    made = message(SHA.address, bill.address)
    with smtp_in_clear(server, "submission") as session:
        session.user, session.password = "sha%legacy.example", SHA.password
        session.auth(mechanism, getattr(session, f"auth_{mechanism.lower().replace('-', '_')}"))
        assert session.mail(bill.address)[0] == 250
        assert session.rcpt(bill.address)[0] == 553
        session.rset()
        session.send_message(made, from_addr=SHA.address, to_addrs=[bill.address])
    assert arrived(server, bill, str(made["Subject"]))
    logged = host.check_output("journalctl --since=-1min --unit=postfix --grep=sasl_username --output=cat")
    assert "sasl_username=sha@legacy.example" in logged
    assert "sasl_username=sha%" not in logged


@pytest.mark.parametrize("user", [SHA._replace(password="wrong"), SHA._replace(password=""), HASH_ONLY,
                                  HASH_ONLY._replace(password=""), User("nobody@legacy.example", "")])  # fmt: skip
def test_whoever_fails_is_told_the_same(server: Server, user: User) -> None:
    with pytest.raises(LoginRefusedError, match=r"\[AUTH\] Authentication failed"):
        apop(server, user)
    with pytest.raises(LoginRefusedError, match=r"\[AUTHENTICATIONFAILED\] Authentication failed"):
        cram_md5(server, user, "imap")
    with pytest.raises(LoginRefusedError, match="535"):
        cram_md5(server, user, "submission")


@pytest.mark.timing
def test_a_hash_serves_plain_and_nobody_waits_for_having_tried_more(server: Server, taro: User) -> None:
    """smtplib.login tries CRAM-MD5 first.  Before TLS taro's plan allows no password."""
    for _ in range(3):
        with smtp_in_clear(server, "submission") as session:
            assert b"CRAM-MD5" in session.ehlo()[1]
            start = time.monotonic()
            session.login(*HASH_ONLY)
            assert time.monotonic() - start < 1
        start = time.monotonic()
        with pytest.raises(LoginRefusedError):
            cram_md5(server, taro, "submission")
        with protocols.smtp(server, "submission") as session:
            session.login(*taro)
        assert time.monotonic() - start < 1


def test_guessing_a_secret_is_slow(server: Server) -> None:
    start = time.monotonic()
    with pytest.raises(LoginRefusedError):
        apop(server, SHA._replace(password="wrong"))
    assert time.monotonic() - start > 1.5


def by_any_way(server: Server, way: str, user: User) -> None:
    """Log in by a mechanism and a protocol.

    Raises: LoginRefusedError if the server rejects the login.
    """
    mechanism, _space, protocol = way.partition(" ")
    if mechanism == "APOP":
        apop(server, user, protocol)
    elif mechanism == "CRAM-MD5":
        cram_md5(server, user, protocol)
    else:
        log_in(server, protocol, user)


@pytest.mark.parametrize("way", ["APOP pop3", "CRAM-MD5 imap", "CRAM-MD5 submission", "CRAM-MD5 smtp", "PLAIN smtp"])
def test_a_guessed_login_is_refused_to_this_client_by_every_way(
    server: Server, host: testinfra.host.Host, bill: User, way: str
) -> None:
    """With APOP a connection counts as one guess, however many it makes."""
    ways = [way, "APOP pop3s", "CRAM-MD5 submission", "PLAIN smtp", "PLAIN imap"]
    most = limit(host, "mail-login")

    def refused(way: str) -> bool:
        return not may_log_in_by(server, way, SHA)

    try:
        guess(server, way, [SHA.address] * (most - 1), by_any_way)
        for other in ways:
            by_any_way(server, other, SHA)

        guess(server, way, [SHA.address], by_any_way)
        assert until(lambda: bool(banned(host, "mail-login")))
        for other in ways:
            assert until(partial(refused, other), 5), other
        log_in(server, "imap", bill)
        assert not banned(host, "mail-address")
    finally:
        host.check_output("fail2ban-client unban --all")
    assert until(lambda: may_log_in_by(server, way, SHA), 5)


def test_a_program_that_tries_a_secret_first_is_not_taken_for_a_guesser(
    server: Server, host: testinfra.host.Host
) -> None:
    for _time in range(limit(host, "mail-login")):
        for protocol in ("imap", "submission"):
            with pytest.raises(LoginRefusedError):
                cram_md5(server, HASH_ONLY, protocol)
        with pytest.raises(LoginRefusedError):
            apop(server, HASH_ONLY)
    assert not until(lambda: bool(banned(host, "mail-login") + banned(host, "mail-tried")), 3)
    log_in(server, "imap", HASH_ONLY)


def may_log_in_by(server: Server, way: str, user: User) -> bool:
    try:
        by_any_way(server, way, user)
    except LoginRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("account", "overrides"),
    [
        ({"state": "suspended"}, {}),
        ({"state": "no_login"}, {}),
        ({"hold": [{"scope": "login", "reason": "e2e"}]}, {}),
        ({}, {"protocols": ["pop3s"]}),
        ({}, {"cleartext_auth": False}),
    ],
)
@pytest.mark.parametrize("password", [SHA.password, "wrong"])
def test_the_plan_and_the_state_hold_for_apop_too(
    server: Server, control: Control, account: dict[str, Any], overrides: dict[str, Any], password: str
) -> None:
    """The reply has no reason: these mechanisms check the password last, so a guess would get the reason too."""
    domains = [{"name": "legacy.example"}]
    control.module("mail_account", address=SHA.address, **account)
    control.module("mail_tenant", name="legacy", plan="basic", overrides=LEGACY | overrides, domains=domains)
    try:
        with pytest.raises(LoginRefusedError, match=r"\[AUTH\] Authentication failed"):
            apop(server, SHA._replace(password=password), "pop3 in clear")
    finally:
        control.module("mail_tenant", name="legacy", plan="basic", overrides=LEGACY, domains=domains)
        control.module("mail_account", address=SHA.address, state="active", release=["login"])
    if password == SHA.password:
        apop(server, SHA, "pop3 in clear")


def test_keys_and_secrets_are_for_root_and_dovecot(host: testinfra.host.Host) -> None:
    for path in (KEYS, "/etc/dovecot/legacy.conf"):
        assert (host.file(path).mode, host.file(path).user) == (0o600, "root")
    query = "SELECT secret FROM v1.legacy_passdb"
    for user in ("postfix", "vmail"):
        asked = host.run(f"runuser -u {user} -- psql --dbname=mailhosting --command='{query}'")
        assert "permission denied" in asked.stderr
    (key,) = [line.split()[1] for line in host.file(KEYS).content_string.splitlines()]
    assert host.run(f"grep -rl --text {key} /var/log /run/log").stdout == ""
    assert host.file("/run/dovecot/dovecot.conf.binary").mode == 0o600


def set_password(host: testinfra.host.Host, user: User) -> None:
    done = host.run(f"echo {shlex.quote(user.password)} | mailhosting password {user.address}")
    if done.rc:
        raise LoginRefusedError(done.stderr)


def test_no_login_fails_while_the_key_is_rotated(server: Server, control: Control, host: testinfra.host.Host) -> None:
    before = host.file(KEYS).content_string
    numbers = itertools.count()

    def set_and_log_in() -> None:
        user = NEW._replace(password=f"{NEW.password} {next(numbers)}")
        set_password(host, user)
        apop(server, user)

    # Postfix's processes keep their connections to Dovecot from client to client.
    clients = [
        Client("APOP", lambda: apop(server, SHA), pace=0.1),
        Client("CRAM-MD5", lambda: cram_md5(server, SHA, "submission"), pace=0.1),
        Client("new passwords", set_and_log_in, pace=0.1),
    ]
    enough, rotations = (50, 50, 10), 0
    with going_on(clients):
        # One rotation is too short for slow clients.
        while rotations < 4 and not all(client.done > least for client, least in zip(clients, enough, strict=True)):
            control.playbook("rotate_legacy_key")
            rotations += 1
    for client, least in zip(clients, enough, strict=True):
        assert client.refused == [], client
        assert client.done > least, client
        # A reload hangs up on clients that have not logged in yet, in every protocol.
        assert len(client.put_off) <= 2 * rotations, client
        answered = [told for told in client.put_off if told.startswith("LoginRefusedError")]
        assert all("shutting down" in told or "EOF" in told for told in answered), client
    after = host.file(KEYS).content_string
    assert after.count("\n") == before.count("\n") == 1
    assert after != before
    assert before.split()[0] not in host.file("/etc/dovecot/legacy.conf").content_string
    apop(server, SHA)
    cram_md5(server, SHA, "submission")


def test_a_rotation_that_breaks_off_refuses_nobody(server: Server, control: Control, host: testinfra.host.Host) -> None:
    before = host.file(KEYS).content_string
    for number, step in enumerate(("add", "promote")):
        control.module("mail_legacy_keys", step=step)
        user = NEW._replace(password=f"{NEW.password} after step {number}")
        set_password(host, user)
        apop(server, user)
        apop(server, SHA)
        host.check_output("systemctl reload dovecot")
    # An interrupted rotation continues: the promoted key stays.
    promoted = host.file(KEYS).content_string.split()[0]
    control.playbook("rotate_legacy_key")
    assert host.file(KEYS).content_string.split()[0::2] == [promoted]
    assert promoted not in before
    apop(server, user)
    apop(server, SHA)


def test_a_password_set_by_the_service_serves_every_mechanism(server: Server, host: testinfra.host.Host) -> None:
    changed = SHA._replace(password="the next password")
    try:
        set_password(host, changed)
        apop(server, changed)
        cram_md5(server, changed, "imap")
        log_in(server, "pop3s", changed)
        with pytest.raises(LoginRefusedError):
            apop(server, SHA)
    finally:
        set_password(host, SHA)


def test_with_another_key_only_apop_fails_and_it_is_said_whose(
    server: Server, control: Control, host: testinfra.host.Host
) -> None:
    host.check_output(f"cp --preserve {KEYS} {KEYS}.kept && echo 'other {'0' * 64}' > {KEYS}")
    try:
        assert SHA.address in control.module("mail_legacy_keys", step="present")["unreadable"]
        host.check_output("systemctl reload dovecot")
        with pytest.raises(LoginRefusedError):
            apop(server, SHA)
        log_in(server, "pop3s", SHA)
        log_in(server, "pop3s", HASH_ONLY)
    finally:
        host.check_output(f"mv {KEYS}.kept {KEYS}")
        assert control.module("mail_legacy_keys", step="present")["unreadable"] == []
        host.check_output("systemctl reload dovecot")
    apop(server, SHA)


def test_after_the_key_is_lost_only_apop_waits_for_new_passwords(
    server: Server, control: Control, host: testinfra.host.Host
) -> None:
    """Dovecot has the key until the next run of site."""
    host.check_output(f"mv {KEYS} {KEYS}.kept")
    try:
        control.playbook("tenants")
        apop(server, SHA)
        log_in(server, "pop3s", SHA)
        with pytest.raises(LoginRefusedError, match="lacks the key"):
            set_password(host, NEW)
        control.playbook("site")
        assert set(control.module("mail_legacy_keys", step="present")["unreadable"]) == {SHA.address, NEW.address}
        for user in (SHA, NEW):
            with pytest.raises(LoginRefusedError, match=r"\[AUTH\] Authentication failed"):
                apop(server, user)
        log_in(server, "pop3s", SHA)
        log_in(server, "pop3s", HASH_ONLY)
        set_password(host, NEW)
        apop(server, NEW)
        # Passwords that files or modules enforce need not be changed.
        assert control.module("mail_account", address=SHA.address, password=SHA.password, update_password="always")[
            "changed"
        ]
        apop(server, SHA)
    finally:
        host.check_output(f"mv {KEYS}.kept {KEYS}")
        control.module("mail_legacy_keys", step="present")
        host.check_output("systemctl reload dovecot")
        for user in (SHA, NEW):
            set_password(host, user)
