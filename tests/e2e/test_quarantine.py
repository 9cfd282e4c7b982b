# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Infected mail is kept, and released, dropped or removed; a name that hits many tenants waits for the operator."""

from __future__ import annotations

import json
import lzma
import smtplib
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from typing import Any, cast

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import ManageSieve, User, arrived, fetched, inbox, subjects, until, valkey_cli
from .control import Control, RunFailedError
from .outside import Outside

#: What a signature of the test hosts finds anywhere, and its name.
VIRUS = b"mailhosting.stack: a virus that harms nobody\n"
NAME = "Test.Anywhere.UNOFFICIAL"
#: clamd alone does not open it.
PACKED = lzma.compress(VIRUS, lzma.FORMAT_ALONE)
USER = User("infected@e2e.example", "a scan takes its mail")
FOLDER = "/var/lib/mailhosting/quarantine"
STRIPS = {"inbound": {"attachment": "strip", "notify": []}, "keep": "1h"}


@pytest.fixture(autouse=True)
def account(tenant: Control, host: testinfra.host.Host) -> Iterator[None]:
    domains = [{"name": "e2e.example"}]
    tenant.module("mail_tenant", name="e2e", plan="basic", domains=domains, overrides={"virus": STRIPS})
    tenant.module("mail_account", address=USER.address, password=USER.password)
    # A tenant's settings are used for a second.
    time.sleep(1)
    yield
    decide(host, None)
    host.run(f"doveadm sieve deactivate -u {USER.address}")
    tenant.module("mail_account", address=USER.address, forward={"to": []})
    if ids := [str(entry["id"]) for entry in entries(host)]:
        host.check_output(f"mailhosting quarantine drop {' '.join(ids)}")
    tenant.module("mail_tenant", name="e2e", plan="basic", domains=domains, overrides={})


def asked(host: testinfra.host.Host, query: str) -> str:
    """What the directory answers to its superuser."""
    psql = "psql --quiet --no-align --tuples-only --dbname=mailhosting"
    return str(host.check_output(f'runuser -u postgres -- {psql} --command="{query}"'))


def decide(host: testinfra.host.Host, verdict: str | None) -> None:
    """What an operator has decided about the name; None for nothing."""
    if verdict is None:
        asked(host, "DELETE FROM directory.virus_name")
        host.check_output(f"{valkey_cli('gate')} zremrangebyscore mh:1:virus:{NAME} -inf +inf")
    else:
        host.check_output(f"mailhosting virus {verdict} {NAME}")


def entries(host: testinfra.host.Host, name: str = USER.address) -> list[dict[str, Any]]:
    found: dict[str, Any] = json.loads(host.check_output(f"mailhosting quarantine list --json -- {name}"))
    return list(found["entries"])


def files(host: testinfra.host.Host) -> list[str]:
    return str(host.check_output(f"ls {FOLDER}")).split()


def infected(content: bytes = VIRUS) -> EmailMessage:
    """A mail with an infected attachment."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "x@outside.example", USER.address, uuid.uuid4().hex
    made.set_content("hello\n")
    made.add_attachment(content, "application", "octet-stream", filename="請求書.pdf")
    return made


def sent(server: Server, mail: EmailMessage) -> str:
    """Send it from outside; its subject.  Raises: SMTPDataError."""
    with protocols.smtp(server, "smtp") as session:
        session.send_message(mail, from_addr="x@outside.example", to_addrs=[USER.address])
    return str(mail["Subject"])


def attachments(server: Server, subject: str) -> list[bytes]:
    """The decoded attachments of all mails with this subject, in order."""
    with inbox(server, USER) as session:
        numbers = session.search(None, f'SUBJECT "{subject}"')[1][0].decode().split()
        mails = [message_from_bytes(fetched(session, number, "(BODY.PEEK[])")) for number in numbers]
    parts = [part for mail in mails for part in mail.walk() if part.get_filename()]
    return [bytes(cast("bytes", part.get_payload(decode=True))) for part in parts]


def one_kept(server: Server, host: testinfra.host.Host, content: bytes = VIRUS) -> tuple[dict[str, Any], str]:
    """The entry of an infected mail, which was stripped and delivered, and its subject."""
    subject = sent(server, infected(content))
    assert arrived(server, USER, subject)
    (entry,) = [entry for entry in entries(host) if entry["subject"] == subject]
    return entry, subject


def test_an_original_is_kept_and_released_into_the_mailbox_alone(
    server: Server, host: testinfra.host.Host, tenant: Control, outside: Outside
) -> None:
    entry, subject = one_kept(server, host, PACKED)
    assert NAME in [finding["name"] for finding in entry["findings"]]
    assert (entry["policy"], entry["sender"], entry["recipient"]) == ("strip", "x@outside.example", USER.address)
    assert PACKED not in attachments(server, subject)
    (file,) = files(host)
    modes = host.check_output(f"stat --format='%a %U' {FOLDER} {FOLDER}/{file}").splitlines()
    assert modes == ["700 mailhosting-gate", "600 mailhosting-gate"]

    # Now everything that is delivered goes on elsewhere, too.
    forward, redirect = (f"{uuid.uuid4().hex}@outside.example" for _ in range(2))
    tenant.module("mail_account", address=USER.address, forward={"to": [forward], "keep": True})
    with closing(ManageSieve(server)) as scripts:
        scripts.login(USER)
        assert scripts.put("on", f'redirect "{redirect}";'.encode()).startswith("OK")
    host.check_output(f"doveadm sieve activate -u {USER.address} on")

    done = host.run(f"mailhosting quarantine release {entry['id']}")
    assert (done.rc, f"still infected with {NAME}" in done.stderr) == (1, True), done.stderr
    decide(host, "ignore")
    host.check_output(f"mailhosting quarantine release {entry['id']}")
    assert (entries(host), files(host)) == ([], [])
    assert PACKED in attachments(server, subject)
    # Once without the attachment, and once whole.
    assert subjects(server, USER) == [subject] * 2
    with inbox(server, USER) as session:
        assert b"Return-Path: <x@outside.example>" in fetched(session, "2", "(BODY.PEEK[HEADER])")
    # The first mail that anybody elsewhere gets is the next one.
    after = sent(server, infected())
    assert outside.mail_to(forward).message["Subject"] == after
    assert outside.mail_to(redirect).message["Subject"] == after


def test_the_module_releases_infected_mail_only_if_told_and_drops(
    server: Server, host: testinfra.host.Host, tenant: Control
) -> None:
    entry, subject = one_kept(server, host)
    _entry, other = one_kept(server, host)
    with pytest.raises(RunFailedError, match="still infected"):
        tenant.module("mail_quarantine", id=[entry["id"]], state="released")
    done = tenant.module("mail_quarantine", id=[entry["id"]], state="released", infected=True)
    assert [each["id"] for each in done["released"]] == [entry["id"]]
    assert VIRUS in b"".join(attachments(server, subject))
    (left,) = tenant.module("mail_quarantine", search=other)["entries"]
    assert tenant.module("mail_quarantine", id=[left["id"]], state="dropped")["changed"]
    assert not tenant.module("mail_quarantine", id=[left["id"]], state="dropped")["changed"]
    assert (entries(host), files(host)) == ([], [])


def test_it_goes_with_the_account(server: Server, host: testinfra.host.Host, tenant: Control) -> None:
    one_kept(server, host)
    tenant.module("mail_account", address=USER.address, state="absent", grace="0s")
    host.check_output("systemctl start mailhosting-remove-mailboxes.service")
    assert entries(host, "e2e") == []
    # A gate that begins sweeps.
    host.check_output("systemctl restart mailhosting-gate@out.service")
    assert until(lambda: files(host) == [])
    tenant.module("mail_account", address=USER.address, password=USER.password)


@contextmanager
def full_disk(host: testinfra.host.Host) -> Iterator[None]:
    """The quarantine is on a disk with room for a small mail."""
    owner = "uid=mailhosting-gate,gid=mailhosting-gate,mode=0700"
    # A running gate would not see the mount.
    restart = "systemctl restart mailhosting-gate@in.service"
    host.check_output(f"mount -t tmpfs -o size=64k,{owner} quarantine {FOLDER} && {restart}")
    try:
        yield
    finally:
        host.check_output(f"umount {FOLDER} && {restart}")


def test_a_full_disk_defers_and_loses_nothing(server: Server, host: testinfra.host.Host) -> None:
    mail = infected(VIRUS + bytes(200_000))
    with full_disk(host):
        with pytest.raises(smtplib.SMTPDataError) as refused:
            sent(server, mail)
        assert refused.value.smtp_code == 451
        said = host.check_output("journalctl --unit=mailhosting-gate@in --since=-2min --output=cat")
        assert "the quarantine: No space left on device" in said
        assert files(host) == []
        subject = sent(server, infected())
        assert arrived(server, USER, subject)
        (entry,) = entries(host)
        host.check_output(f"mailhosting quarantine drop {entry['id']}")
    assert mail["Subject"] not in subjects(server, USER)
    assert arrived(server, USER, sent(server, mail))


def test_a_name_that_hits_many_tenants_waits_for_the_operator(server: Server, host: testinfra.host.Host) -> None:
    notices = "SELECT count(*) FROM directory.notice WHERE kind = 'virus_outbreak'"
    before, now = int(asked(host, notices)), int(time.time())
    nine = " ".join(f"{now} {10**9 + number}" for number in range(9))
    host.check_output(f"{valkey_cli('gate')} zadd mh:1:virus:{NAME} {nine}")
    mail = infected()
    for _attempt in range(2):
        with pytest.raises(smtplib.SMTPDataError) as refused:
            sent(server, mail)
        assert refused.value.smtp_code == 451
    names = {each["name"]: each for each in json.loads(host.check_output("mailhosting virus list --json"))["names"]}
    assert (names[NAME]["verdict"], names[NAME]["tenants"]) == ("deferred", 10)
    assert int(asked(host, notices)) == before + 1
    assert (entries(host), files(host)) == ([], [])
    decide(host, "accept")
    subject = sent(server, mail)
    assert arrived(server, USER, subject)
    assert VIRUS not in b"".join(attachments(server, subject))
    decide(host, "ignore")
    subject = sent(server, infected())
    assert arrived(server, USER, subject)
    assert VIRUS in b"".join(attachments(server, subject))
