# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forwarding to external addresses: the envelope sender there, the way back for bounces, and who may use it."""

from __future__ import annotations

import re
import uuid
from functools import partial
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, fetched, inbox, message, receive, send, until
from .control import Control, RunFailedError
from .outside import Outside

USER = User("forwards@e2e.example", "sends it on")


def somebody() -> str:
    """An external address that no other test uses."""
    return f"{uuid.uuid4().hex}@outside.example"


@pytest.fixture
def target(tenant: Control) -> str:
    """The address to which USER's mail is forwarded, without a copy."""
    address = somebody()
    forward(tenant, address, keep=False)
    return address


def forward(tenant: Control, target: str, *, keep: bool) -> None:
    settings = {"to": [target], "keep": keep}
    tenant.module("mail_account", address=USER.address, password=USER.password, forward=settings)


def body(content: bytes) -> bytes:
    return content.partition(b"\r\n\r\n")[2]


def rcpt(server: Server, recipient: str, sender: str = "") -> tuple[int, bytes]:
    """Port 25's reply to a stranger's RCPT."""
    with protocols.smtp(server, "smtp") as session:
        session.mail(sender)
        return session.rcpt(recipient)


def srs_sender(server: Server, outside: Outside, target: str, sender: str) -> str:
    """The envelope sender that `outside` gets for a forwarded mail of `sender`."""
    receive(server, sender, USER.address)
    return outside.mail_to(target).sender


def test_a_forward_leaves_with_a_sender_of_ours_and_its_content(
    server: Server, outside: Outside, target: str, variables: dict[str, Any]
) -> None:
    sender = somebody()
    mail = message(sender, USER.address)
    mail.set_content("日本語の本文\n.\nline\n", cte="8bit")
    with protocols.smtp(server, "smtp") as session:
        session.send_message(mail, from_addr=sender, to_addrs=[USER.address])
    seen = outside.mail_to(target)
    local, domain = sender.split("@")
    assert re.fullmatch(rf"SRS0=[^=]+=[^=]+={domain}={local}@{variables['mail_hostname']}", seen.sender)
    assert seen.message["From"] == sender
    assert body(seen.content) == body(mail.as_bytes(policy=mail.policy.clone(linesep="\r\n")))


def test_the_copy_that_is_kept_has_its_own_sender(server: Server, outside: Outside, tenant: Control) -> None:
    target, sender = somebody(), somebody()
    forward(tenant, target, keep=True)
    subject = receive(server, sender, USER.address)
    assert outside.mail_to(target).sender.startswith("SRS0=")
    assert arrived(server, USER, subject)
    with inbox(server, USER) as session:
        (number,) = session.search(None, "SUBJECT", subject)[1][0].split()
        header = fetched(session, number.decode(), "(BODY.PEEK[HEADER.FIELDS (RETURN-PATH)])")
    assert header.strip() == f"Return-Path: <{sender}>".encode()


def test_a_bounce_reaches_the_original_sender(server: Server, outside: Outside, target: str) -> None:
    sender = somebody()
    receive(server, "", srs_sender(server, outside, target, sender))
    assert outside.mail_to(sender).sender == ""


@pytest.mark.parametrize(
    "sender",
    ['"a b"@outside.example', r'"a\"b"@outside.example', '"a..b"@docomo.ne.jp', "ab.@docomo.ne.jp", "u@[192.0.2.1]"],
)
def test_a_bounce_reaches_senders_that_want_quotes(
    server: Server, outside: Outside, tenant: Control, sender: str
) -> None:
    target = somebody()
    forward(tenant, target, keep=False)
    with protocols.smtp(server, "smtp") as session:
        session.docmd("MAIL", f"FROM:<{sender}>")
        session.docmd("RCPT", f"TO:<{USER.address}>")
        assert session.data(b"Subject: odd\r\n\r\nx\r\n")[0] == 250
    rewritten = outside.mail_to(target).sender
    assert "SRS0=" in rewritten
    with protocols.smtp(server, "smtp") as session:
        session.docmd("MAIL", "FROM:<>")
        assert session.docmd("RCPT", f"TO:<{rewritten}>")[0] == 250
        assert session.data(b"Subject: bounce\r\n\r\nx\r\n")[0] == 250
    # Quoted on the wire, whatever the file had.
    local_part, _at, domain = sender.rpartition("@")
    plain = domain.startswith("[") or local_part.startswith('"')
    outside.mail_to(sender if plain else f'"{local_part}"@{domain}')


@pytest.mark.parametrize("written", ["a..b", "ab."])
def test_a_forward_leads_to_an_address_that_a_carrier_let_be(
    server: Server, outside: Outside, tenant: Control, written: str
) -> None:
    forward(tenant, f"{written}@docomo.ne.jp", keep=False)
    receive(server, somebody(), USER.address)
    # RFC 5321 4.1.2: not a dot-string.
    outside.mail_to(f'"{written}"@docomo.ne.jp')


def test_what_outside_refuses_is_told_to_the_original_sender(server: Server, outside: Outside, tenant: Control) -> None:
    sender = somebody()
    forward(tenant, "refused@outside.example", keep=False)
    receive(server, sender, USER.address)
    seen = outside.mail_to(sender)
    assert seen.sender == ""
    assert seen.message.get_content_type() == "multipart/report"


def test_senders_of_any_length_and_case_come_back_as_they_were(server: Server, outside: Outside, target: str) -> None:
    # Enough senders that the hashes have every character.
    senders = [f"Bounces+{number}-AbC=x.example@{'long-' * 6}name.example" for number in range(12)]
    for sender in senders:
        receive(server, sender, USER.address)
    assert until(lambda: len(outside.mails_to(target)) == len(senders))
    for forwarded in outside.mails_to(target):
        receive(server, "", forwarded.sender)
    for sender in senders:
        outside.mail_to(sender)


@pytest.mark.parametrize("sender", ["", "someone@outside.example"])
def test_a_forged_or_expired_address_is_refused_at_rcpt(
    server: Server, outside: Outside, target: str, sender: str
) -> None:
    real = srs_sender(server, outside, target, somebody())
    assert rcpt(server, real, sender)[0] == 250
    tag, digest, stamp, domain, rest = real.split("=", 4)
    forged = "AAAA" if digest != "AAAA" else "BBBB"
    for wrong in (
        f"{tag}={forged}={stamp}={domain}={rest}",
        f"{tag}={digest}={stamp}=victim.example={rest}",
        f"{tag}={digest}={'AA' if stamp != 'AA' else 'MA'}={domain}={rest}",
    ):
        code, text = rcpt(server, wrong, sender)
        assert (code, text[:5]) == (550, b"5.1.1"), wrong


def test_an_address_expires(server: Server, host: testinfra.host.Host, variables: dict[str, Any]) -> None:
    """Signed with the host's own secret, 30 days ago: postsrsd accepts it for 21."""
    code = (
        "import base64, hashlib, hmac, time;"
        " base = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'; day = int(time.time() // 86400) - {age};"
        " stamp = base[day >> 5 & 31] + base[day & 31];"
        " text = (stamp + 'outside.example' + 'somebody').lower();"
        " key = open('/etc/postsrsd.secret').read().split()[0];"
        " digest = base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha1).digest()).decode()[:4];"
        " print('SRS0=' + digest + '=' + stamp + '=outside.example=somebody')"
    )
    answers = {}
    for age in (0, 30):
        local = host.check_output(f'python3 -c "{code.format(age=age)}"')
        answers[age] = rcpt(server, f"{local}@{variables['mail_hostname']}")[0]
    assert answers == {0: 250, 30: 550}


def test_own_mail_to_outside_keeps_its_sender(server: Server, outside: Outside, taro: User) -> None:
    recipient = somebody()
    send(server, taro, recipient)
    assert outside.mail_to(recipient).sender == taro.address


def test_own_mail_that_is_forwarded_keeps_its_sender(server: Server, outside: Outside, target: str, taro: User) -> None:
    send(server, taro, USER.address)
    assert outside.mail_to(target).sender == taro.address


def test_a_bounce_that_is_forwarded_stays_one(server: Server, outside: Outside, target: str) -> None:
    receive(server, "", USER.address)
    assert outside.mail_to(target).sender == ""


def test_a_loop_between_hosts_ends(server: Server, outside: Outside, target: str) -> None:
    """The other host forwards all back until there are too many Received lines; then the sender gets a bounce."""
    sender = somebody()
    mail = message(sender, USER.address).as_bytes()

    def further(seen: int) -> bool:
        return len(outside.mails_to(target)) > seen or bool(outside.mails_to(sender))

    for _round in range(60):
        seen = len(outside.mails_to(target))
        with protocols.smtp(server, "smtp") as session:
            session.mail(sender)
            session.rcpt(USER.address)
            if session.data(mail)[0] != 250:
                break
        assert until(partial(further, seen))
        if outside.mails_to(sender):
            break
        mail = outside.mails_to(target)[-1].content
    else:
        pytest.fail("it goes round and round")
    assert len(outside.mails_to(target)) < 50


def test_two_addresses_that_forward_to_each_other_are_refused(tenant: Control) -> None:
    other = "back@e2e.example"
    tenant.module("mail_account", address=other, password="sends it back")
    forward(tenant, other, keep=True)
    with pytest.raises(RunFailedError, match="loop"):
        tenant.module("mail_account", address=other, forward={"to": [USER.address], "keep": True})


def test_nothing_is_lost_while_postsrsd_is_down(
    server: Server, outside: Outside, target: str, host: testinfra.host.Host
) -> None:
    real = srs_sender(server, outside, target, somebody())
    seen = len(outside.mails_to(target))
    host.check_output("systemctl stop postsrsd")
    try:
        subject = receive(server, somebody(), USER.address)
        assert rcpt(server, real)[0] == 451
        assert until(lambda: subject in queued(host) or "loopback" in queued(host) or target in queued(host))
        assert len(outside.mails_to(target)) == seen
    finally:
        host.check_output("systemctl start postsrsd")
    host.check_output("postqueue -f")
    assert until(lambda: len(outside.mails_to(target)) > seen)
    assert outside.mails_to(target)[-1].sender.startswith("SRS0=")
    assert outside.mails_to(target)[-1].message["Subject"] == subject


def queued(host: testinfra.host.Host) -> str:
    return str(host.check_output("postqueue -j"))


@pytest.mark.parametrize("port", [10025, 10026, 10027, 10028])
@pytest.mark.parametrize("user", ["nobody", "root"])
def test_nobody_on_the_host_sends_by_the_listeners_on_loopback(host: testinfra.host.Host, port: int, user: str) -> None:
    """Without the key nobody gets a session, from whatever address."""
    dialogue = f"""
import smtplib, ssl
context = ssl._create_unverified_context()
session = smtplib.SMTP("127.0.0.1", {port}, timeout=10)
session.ehlo()
print(session.mail("a@outside.example")[0])
try:
    session.starttls(context=context)
    session.ehlo()
    session.mail("a@outside.example")
    print(session.rcpt("b@outside.example")[0])
except (ssl.SSLError, OSError, smtplib.SMTPException):
    print("closed")
"""
    answer = host.check_output(f"runuser -u {user} -- python3 -c '{dialogue}'").split()
    assert answer[0] == "530"
    assert answer[1] in ("closed", "554")


def test_the_listeners_on_loopback_are_not_elsewhere(host: testinfra.host.Host) -> None:
    listening = host.check_output("ss -Hltn").split()
    for port in (10001, 10002, 10025, 10026, 10027, 10028):
        assert [entry for entry in listening if entry.endswith(f":{port}")] == [f"127.0.0.1:{port}"]


def test_the_secret_is_for_root_alone(host: testinfra.host.Host) -> None:
    for path in ("/etc/postsrsd.secret", "/etc/mailhosting/loopback.pem"):
        assert host.check_output(f"stat -c '%U %a' {path}") == "root 600"
