# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mailboxes in mail programs: which exist at first, what can be done with a full one, and their limits."""

from __future__ import annotations

import contextlib
import imaplib
import re
import uuid
from collections.abc import Iterator, Sequence

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import ManageSieve, User, arrived, inbox, receive, until
from .control import Control

KIB = 1024


@pytest.fixture
def user(tenant: Control) -> User:
    made = User(f"m{uuid.uuid4().hex[:8]}@e2e.example", "folders and filters")
    tenant.module("mail_account", address=made.address, password=made.password)
    return made


@pytest.fixture
def session(server: Server, user: User) -> Iterator[imaplib.IMAP4]:
    with inbox(server, user) as opened:
        yield opened


def names(lines: Sequence[bytes | tuple[bytes, bytes] | None]) -> dict[str, str]:
    """Lines of LIST or LSUB, which are flags, separator and name, by the name."""
    texts = [line.decode() for line in lines if isinstance(line, bytes)]
    return {text.rpartition(' "/" ')[2].strip('"'): text for text in texts}


def kib(session: imaplib.IMAP4) -> int:
    """KiB in use."""
    answer = session.getquotaroot("INBOX")[1][1][0].decode()
    found = re.search(r"STORAGE (\d+)", answer)
    assert found, answer
    return int(found[1])


def test_every_program_finds_the_usual_mailboxes_subscribed(session: imaplib.IMAP4) -> None:
    usual = {"Archive", "Drafts", "Junk", "Sent", "Trash"}
    assert names(session.lsub()[1]).keys() >= usual
    session.xatom("LIST", "(SPECIAL-USE)", '""', '"*"')
    uses = names(session.response("LIST")[1])
    assert uses.keys() == usual
    for use in usual:
        assert f"\\{use}" in uses[use]
    assert session.append("Sent", r"(\Seen)", None, b"Subject: sent\r\n\r\nx")[0] == "OK"


def test_names_may_have_dots(session: imaplib.IMAP4) -> None:
    dotted = {"acme.com", "1. Projekte", "Archiv/2026.11"}
    for name in dotted:
        assert session.create(f'"{name}"')[0] == "OK", name
    assert names(session.list()[1]).keys() >= dotted | {"Archiv"}
    assert session.append('"acme.com"', None, None, b"Subject: x\r\n\r\nx")[0] == "OK"
    assert session.rename('"acme.com"', '"acme.co.jp"')[0] == "OK"
    assert session.status('"acme.co.jp"', "(MESSAGES)")[1] == [b"acme.co.jp (MESSAGES 1)"]
    assert session.delete('"acme.co.jp"')[0] == "OK"


@pytest.mark.parametrize("trash", ["Trash", '"Deleted Items"'])
def test_who_is_full_can_delete_by_moving_to_trash(server: Server, tenant: Control, user: User, trash: str) -> None:
    tenant.module("mail_account", address=user.address, quota="200K")
    mail = b"Subject: big\r\n\r\n" + b"x" * 76 * KIB
    with inbox(server, user) as full:
        while full.append("INBOX", None, None, mail)[0] == "OK":
            assert kib(full) <= 200
        full.select("INBOX")
        full.create(trash)
        before = kib(full)
        assert before > 150
        # Old programs delete by copying first: here all mails at once.
        assert full.copy("1:*", trash)[0] == "OK"
        assert kib(full) >= 2 * before - 2
        # They count, so nothing else fits anywhere.
        assert full.append("Sent", None, None, b"Subject: x\r\n\r\nx")[0] == "NO"
        assert full.store("1:*", "+FLAGS", r"(\Deleted)")[0] == "OK"
        assert full.expunge()[0] == "OK"
        full.select(trash)
        assert full.store("1:*", "+FLAGS", r"(\Deleted)")[0] == "OK"
        assert full.expunge()[0] == "OK"

        def emptied() -> bool:
            """The host's notice that the mailbox is full may have arrived meanwhile; it is deleted too."""
            full.select("INBOX")
            if notices := full.search(None, "ALL")[1][0].decode().replace(" ", ","):
                full.store(notices, "+FLAGS", r"(\Deleted)")
                full.expunge()
            return kib(full) == 0

        assert until(emptied)


def test_trash_has_an_end(server: Server, tenant: Control, user: User, variables: dict[str, object]) -> None:
    tenant.module("mail_account", address=user.address, quota="1M")
    grace = int(str(variables.get("mail_message_size_limit", 52428800)))
    mail = b"Subject: big\r\n\r\n" + b"x" * 10 * KIB * KIB
    with inbox(server, user) as full:
        for _ in range(2 + 2 * grace // len(mail)):
            if full.append("Trash", None, None, mail)[0] != "OK":
                break
        else:
            pytest.fail(f"{kib(full)} KiB in Trash, and no end")
        assert kib(full) <= 2 * KIB + 2 * grace // KIB


def test_filters_have_a_number_and_a_size(server: Server, user: User) -> None:
    filters = ManageSieve(server)
    filters.login(user)
    assert filters.put("small", b"keep;").startswith("OK")
    assert filters.put("big", b"# " + b"x" * 1_100_000 + b"\r\nkeep;").startswith("NO")
    answers = [filters.put(f"f{number}", b"keep;") for number in range(20)]
    assert [answer[:2] for answer in answers] == ["OK"] * 19 + ["NO"]
    assert "QUOTA/MAXSCRIPTS" in answers[-1]
    # Existing filters can still be changed, and mail arrives.
    assert filters.put("small", b"discard;").startswith("OK")
    filters.close()
    receive(server, "someone@outside.example", user.address)


def test_a_plan_bounds_what_its_quota_does_not_count(server: Server, tenant: Control, user: User) -> None:
    bounds = {"max_messages": 3, "max_folders": 4, "max_filters": 1, "max_filters_size": "1K"}
    tenant.module("mail_tenant", name="e2e", overrides=bounds)
    try:
        with inbox(server, user) as session, contextlib.closing(ManageSieve(server)) as filters:
            # Their number counts, not their bytes: each is a file.
            added = [session.append("INBOX", None, None, b"a:b") for _ in range(4)]
            assert [status for status, _said in added] == ["OK"] * 3 + ["NO"]
            assert b"OVERQUOTA" in added[-1][1][0]
            assert session.select("INBOX")[1] == [b"3"]
            assert arrived(server, user, receive(server, "someone@outside.example", user.address))
            # By bytes Trash has room for as many again, so that a full mailbox can be emptied by copies.
            assert session.copy("1:3", "Trash")[0] == "NO"
            session.store("1", "+FLAGS", r"(\Deleted)")
            session.expunge()
            assert session.copy("1:*", "Trash")[0] == "OK"
            made = [session.create(f"folder{number}")[0] for number in range(3)]
            assert made == ["OK"] * 2 + ["NO"]
            filters.login(user)
            assert filters.put("big", b"#" + b"x" * 1024).startswith("NO")
            assert filters.put("one", b"keep;").startswith("OK")
            assert filters.put("two", b"keep;").startswith("NO")
    finally:
        tenant.module("mail_tenant", name="e2e", overrides={})
    with inbox(server, user) as session:
        assert session.append("INBOX", None, None, b"a:b")[0] == "OK"
        assert session.create("folder3")[0] == "OK"


def test_nobody_is_promised_a_special_use_of_his_own(session: imaplib.IMAP4) -> None:
    """Dovecot 2.4 stores no special use of CREATE or SETMETADATA, and its METADATA would have no limit."""
    capabilities = set(session.capability()[1][0].split())
    assert b"SPECIAL-USE" in capabilities
    assert not capabilities & {b"CREATE-SPECIAL-USE", b"METADATA", b"METADATA-SERVER"}
    # It parses USE, of RFC 6154 or not, and creates an ordinary mailbox.
    assert session.xatom("CREATE", "Gesendet", r"(USE (\Sent))")[0] == "OK"
    session.xatom("LIST", "(SPECIAL-USE)", '""', '"*"')
    assert "Gesendet" not in names(session.response("LIST")[1])
    for entry in ("/private/specialuse", "/private/comment"):
        status, said = session.xatom("SETMETADATA", "Gesendet", f'({entry} "x")')
        assert (status, said[0][:8]) == ("NO", b"[CANNOT]"), said


def test_mailboxes_have_a_number(session: imaplib.IMAP4) -> None:
    session.send(b"".join(b"x%d CREATE f%d\r\n" % (number, number) for number in range(1001)))
    answers = [session.readline() for _ in range(1001)]
    assert all(b" OK " in answer for answer in answers[:900])
    assert b" NO " in answers[-1]
