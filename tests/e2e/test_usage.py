# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes in use are known within seconds whatever happens, and usage is stored for billing."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, inbox, message, receive, until, valkey_cli
from .control import Control

OUTSIDE = "someone@outside.example"
ACL = "/etc/valkey/users.acl"
#: Seconds until every number must be right.
SOON = 15

pytestmark = pytest.mark.usefixtures("valkey")


class Valkey:
    """Valkey on the host, as a user with all rights."""

    def __init__(self, host: Any) -> None:
        self.host = host

    def __call__(self, *command: object, user: str = "e2e") -> str:
        words = " ".join(f"'{word}'" for word in command)
        return str(self.host.check_output(f"{valkey_cli(user)} {words}"))

    def empty(self) -> None:
        """Delete everything, as a lost disk would."""
        self.host.check_output(
            "systemctl stop valkey-server && rm -r /var/lib/valkey/* && systemctl start valkey-server"
        )


@pytest.fixture(scope="module")
def valkey(host: testinfra.host.Host) -> Iterator[Valkey]:
    host.check_output(f"cp -p {ACL} {ACL}.e2e && echo 'user e2e on nopass ~* +@all' >> {ACL}")
    host.check_output("systemctl restart valkey-server")
    yield Valkey(host)
    host.check_output(f"mv {ACL}.e2e {ACL} && systemctl reset-failed valkey-server; systemctl restart valkey-server")


@pytest.fixture
def user(tenant: Control) -> Iterator[User]:
    made = User(f"u{uuid.uuid4().hex[:8]}@e2e.example", "counted to the byte")
    tenant.module("mail_account", address=made.address, password=made.password)
    yield made
    tenant.module("mail_account", address=made.address, state="absent", grace="0s")


@pytest.fixture(scope="module", autouse=True)
def many(tenant: Control) -> None:
    """No limit on the number of accounts."""
    tenant.module(
        "mail_tenant",
        name="e2e",
        plan="basic",
        domains=[{"name": "e2e.example"}],
        overrides={"max_accounts": None, "mailbox_quota": "1G", "billing_step": 3},
    )


def number(host: Any, user: User) -> str:
    """The account's id, which its mailbox has too."""
    return str(host.check_output(f"doveadm user -f home {user.address}").rpartition("/")[2])


def key(host: Any, user: User) -> str:
    return f"mh:1:usage:{number(host, user)}/{user.address}/quota/storage"


def known(valkey: Valkey, user: User) -> str:
    """Bytes in use in Valkey; empty if it has none."""
    return valkey("GET", key(valkey.host, user)).strip()


def real(valkey: Valkey, user: User) -> str:
    """The real bytes in use."""
    listed = valkey.host.check_output(f"cd / && doveadm -f tab mailbox status -u {user.address} -t vsize '*'")
    return str(listed.split()[-1])


def becomes_exact(valkey: Valkey, user: User) -> bool:
    return until(lambda: known(valkey, user) == real(valkey, user), SOON)


def delivered(server: Server, user: User, size: int = 7000) -> str:
    subject = receive(server, OUTSIDE, user.address, size=size)
    assert arrived(server, user, subject)
    return subject


def complete(valkey: Valkey) -> bool:
    return bool(valkey("GET", "mh:1:usage:epoch").strip())


def said(host: Any, text: str) -> bool:
    """Whether the service has logged this since its start."""
    life = host.check_output("systemctl show --value --property=InvocationID mailhosting-usage")
    return text in host.check_output(f"journalctl _SYSTEMD_INVOCATION_ID={life} --output=cat --quiet")


def test_a_delivery(server: Server, user: User, valkey: Valkey) -> None:
    delivered(server, user)
    assert becomes_exact(valkey, user)
    # The service may have filled it in before.
    delivered(server, user)
    assert becomes_exact(valkey, user)
    assert int(known(valkey, user)) > 14_000


def test_many_deliveries_at_once(server: Server, user: User, valkey: Valkey) -> None:
    with ThreadPoolExecutor(10) as pool:
        for done in [pool.submit(receive, server, OUTSIDE, user.address, size=700) for _ in range(40)]:
            done.result()
    count = f"cd / && doveadm -f tab mailbox status -u {user.address} messages INBOX"
    assert until(lambda: valkey.host.check_output(count).split()[-1] == "40")
    assert becomes_exact(valkey, user)


def test_what_a_client_deletes_and_stores(server: Server, user: User, valkey: Valkey) -> None:
    for _ in range(3):
        delivered(server, user)
    with contextlib.closing(protocols.pop3(server, "pop3s")) as maildrop:
        maildrop.user(user.address)
        maildrop.pass_(user.password)
        maildrop.dele(1)
        maildrop.quit()
    assert becomes_exact(valkey, user)

    with inbox(server, user) as session:
        session.store("1", "+FLAGS", r"(\Deleted)")
        session.expunge()
        # Within the session, which may last for hours.
        assert becomes_exact(valkey, user)
        session.create("Trash")
        session.append("Trash", "", None, message(OUTSIDE, user.address, 70_000).as_bytes())
        assert becomes_exact(valkey, user)
    assert int(known(valkey, user)) > 70_000


def test_what_retention_removes(server: Server, user: User, valkey: Valkey) -> None:
    delivered(server, user)
    valkey.host.check_output(f"cd / && runuser -u vmail -- doveadm expunge -u {user.address} mailbox INBOX all")
    assert becomes_exact(valkey, user)
    assert known(valkey, user) == "0"


def test_a_valkey_that_lost_all_is_filled_again(server: Server, user: User, valkey: Valkey, bill: User) -> None:
    delivered(server, user)
    before = known(valkey, user)
    valkey.empty()
    assert until(lambda: complete(valkey), SOON)
    assert known(valkey, user) == before
    assert known(valkey, bill) == real(valkey, bill)


def test_it_is_not_complete_before_all_is_known(server: Server, user: User, valkey: Valkey) -> None:
    delivered(server, user)
    host = valkey.host
    host.check_output("systemctl stop dovecot.socket dovecot 2>/dev/null || systemctl stop dovecot")
    try:
        host.check_output("systemctl reset-failed mailhosting-usage; systemctl restart mailhosting-usage")
        valkey.empty()
        assert until(lambda: said(host, "build:"), SOON), "it tried"
        assert not complete(valkey)
    finally:
        host.check_output("systemctl reset-failed dovecot; systemctl start dovecot")
    # The service tries again after half a minute.
    assert until(lambda: complete(valkey), 60)
    assert known(valkey, user) == real(valkey, user)


def test_a_valkey_that_was_away_is_told_what_it_missed(server: Server, user: User, valkey: Valkey) -> None:
    delivered(server, user)
    assert becomes_exact(valkey, user)
    valkey.host.check_output("systemctl stop valkey-server")
    try:
        delivered(server, user)
    finally:
        valkey.host.check_output("systemctl start valkey-server")
    assert becomes_exact(valkey, user)


@pytest.mark.timing
def test_a_valkey_that_hangs_holds_and_loses_no_mail(user: User, valkey: Valkey) -> None:
    socket = "/var/spool/postfix/private/dovecot-lmtp"
    program = f"""
import smtplib, time
times = []
for number in range(20):
    with smtplib.LMTP(host="{socket}") as session:
        began = time.monotonic()
        session.sendmail("{OUTSIDE}", ["{user.address}"], b"Subject: %d\\r\\n\\r\\nx\\r\\n" % number)
        times.append(time.monotonic() - began)
print(max(times))
"""
    host = valkey.host
    host.check_output("systemctl kill --signal=STOP valkey-server")
    try:
        longest = float(host.check_output(f"python3 - <<'END'\n{program}\nEND"))
    finally:
        host.check_output("systemctl kill --signal=CONT valkey-server")
    assert longest < 1.5
    assert becomes_exact(valkey, user)
    count = f"cd / && doveadm -f tab mailbox status -u {user.address} messages INBOX"
    assert host.check_output(count).split()[-1] == "20"


def test_what_is_wanted_is_filled_in(server: Server, user: User, valkey: Valkey) -> None:
    delivered(server, user)
    before = known(valkey, user)
    valkey("DEL", key(valkey.host, user))
    valkey("SADD", "mh:1:usage:wanted", user.address, "nobody@e2e.example")
    assert until(lambda: known(valkey, user) == before, SOON)
    assert valkey("SCARD", "mh:1:usage:wanted").strip() == "0"


def test_what_is_wrong_is_corrected_and_what_is_gone_removed(
    server: Server, tenant: Control, user: User, valkey: Valkey
) -> None:
    host = valkey.host
    gone = User(f"gone{uuid.uuid4().hex[:8]}@e2e.example", "soon gone")
    tenant.module("mail_account", address=gone.address, password=gone.password)
    delivered(server, gone)
    assert becomes_exact(valkey, gone)
    keys = f"mh:1:usage:{number(host, gone)}/{gone.address}/*"
    assert len(valkey("KEYS", keys).split()) == 2
    tenant.module("mail_account", address=gone.address, state="absent", grace="0s")
    delivered(server, user)
    valkey("SET", key(host, user), 123)

    # As each night.
    host.check_output("systemctl restart mailhosting-usage")
    assert until(lambda: said(host, "compared"), SOON)
    assert known(valkey, user) == real(valkey, user)
    assert valkey("KEYS", keys).split() == []


def test_a_renamed_account_brings_its_bytes_along(server: Server, tenant: Control, user: User, valkey: Valkey) -> None:
    delivered(server, user)
    before = known(valkey, user)
    renamed = User(f"re{user.address}", user.password)
    tenant.module("mail_account", address=renamed.address, renamed_from=user.address.partition("@")[0])
    assert known(valkey, renamed) == ""
    valkey("SADD", "mh:1:usage:wanted", renamed.address)
    assert until(lambda: known(valkey, renamed) == before, SOON)


def test_a_mailbox_that_was_never_used_is_not_made_by_measuring_it(user: User, valkey: Valkey) -> None:
    valkey("SADD", "mh:1:usage:wanted", user.address)
    assert until(lambda: known(valkey, user) == "0", SOON)
    folder = valkey.host.check_output(f"doveadm user -f home {user.address}")
    assert not valkey.host.file(folder).exists


@pytest.mark.parametrize(
    ("user_name", "command"),
    [
        ("default", ["GET", "mh:1:usage:1/a@b.example/quota/storage"]),
        ("default", ["SET", "mh:1:usage:epoch", "1"]),
        ("default", ["SET", "mh:1:usage:wanted", "1"]),
        ("default", ["SCAN", "0"]),
        ("usage", ["SET", "mh:1:login:192.0.2.1/a@b.example", "1"]),
        ("usage", ["DEL", "mh:1:day:2026-11-22:1"]),
        ("usage", ["FLUSHALL"]),
        ("policy", ["GET", "mh:1:usage:epoch"]),
    ],
)
def test_nobody_may_do_more_than_needed(valkey: Valkey, user_name: str, command: list[str]) -> None:
    assert "NOPERM" in valkey(*command, user=user_name)


# Stored figures.


def collect(host: Any) -> None:
    """Collect now instead of within minutes."""
    host.check_output("systemctl reset-failed mailhosting-usage; systemctl restart mailhosting-usage")
    assert until(lambda: said(host, "collected"), SOON)


def today() -> str:
    return str(datetime.now(UTC).date())


def row(tenant: Control, day: str) -> dict[str, Any]:
    result = tenant.module("mail_usage_info", tenant="e2e", **{"from": day, "to": day})
    (found,) = result["days"]
    return {**found, "now": result["now"]["e2e"]}


@pytest.fixture
def account(tenant: Control) -> Iterator[Callable[..., None]]:
    """Creates accounts, and removes them at the end."""
    made = []

    def make(address: str, **options: str) -> None:
        made.append(address)
        tenant.module("mail_account", address=address, password="to be billed", **options)

    yield make
    for address in made:
        tenant.module("mail_account", address=address, state="absent", grace="0s")


@pytest.fixture
def alias(tenant: Control, account: Callable[..., None]) -> Iterator[Callable[[str], None]]:
    """Creates aliases of one account, and removes them at the end."""
    made = []
    target = f"target{uuid.uuid4().hex[:6]}@e2e.example"
    account(target)

    def make(address: str) -> None:
        made.append(address)
        tenant.module("mail_alias", address=address, targets=[target])

    yield make
    for address in made:
        tenant.module("mail_alias", address=address, state="absent")


@pytest.mark.requirement("VM-5")
def test_addresses_that_are_billed(
    tenant: Control, valkey: Valkey, account: Callable[..., None], alias: Callable[[str], None]
) -> None:
    """Aliases and suspended addresses count, postmaster and all@ do not; rounded up to steps of three."""
    collect(valkey.host)
    before = row(tenant, today())["addresses"]
    account("active@e2e.example")
    account("suspended@e2e.example", state="suspended")
    for name in ("alias", "postmaster", "all"):
        alias(f"{name}@e2e.example")
    collect(valkey.host)
    stored = row(tenant, today())
    assert stored["addresses"] == stored["now"]["addresses"] == before + 3
    assert stored["billed"] == stored["now"]["billed"] == -(-stored["addresses"] // 3) * 3

    # One address above a whole step counts as the next step.
    for number in range(3 - (stored["addresses"] - 1) % 3):
        alias(f"more{number}@e2e.example")
    collect(valkey.host)
    more = row(tenant, today())
    assert (more["addresses"] % 3, more["billed"] - more["addresses"]) == (1, 2)


def test_bytes_and_counters_of_a_day(server: Server, tenant: Control, user: User, valkey: Valkey) -> None:
    host = valkey.host
    delivered(server, user, size=70_000)
    assert becomes_exact(valkey, user)
    query = "SELECT id FROM directory.tenant WHERE name = 'e2e'"
    ids = host.check_output(f'runuser -u postgres -- psql -d mailhosting -Atc "{query}"')
    yesterday = str(datetime.now(UTC).date() - timedelta(days=1))
    rows = tenant.module("mail_usage_info", tenant="e2e", **{"from": yesterday, "to": yesterday})["days"]
    before = rows[0]["received_bytes"] if rows else 0
    for day in (today(), yesterday):
        valkey("HINCRBY", f"mh:1:day:{day}:{ids}", "sent_messages", 3)
        valkey("HINCRBY", f"mh:1:day:{day}:{ids}", "received_bytes", 700)
    collect(host)
    first = row(tenant, today())
    assert first["bytes"] == first["now"]["bytes"] >= 70_000
    sent = first["sent_messages"]
    assert sent >= 3
    assert row(tenant, yesterday)["received_bytes"] == before + 700

    host.check_output(f"cd / && runuser -u vmail -- doveadm expunge -u {user.address} mailbox INBOX all")
    assert becomes_exact(valkey, user)
    collect(host)
    second = row(tenant, today())
    assert (second["peak_bytes"], second["sent_messages"]) == (max(first["peak_bytes"], first["bytes"]), sent)
    assert second["bytes"] <= first["bytes"] - 70_000

    valkey.empty()
    assert until(lambda: complete(valkey), SOON)
    valkey("HSET", f"mh:1:day:{today()}:{ids}", "sent_messages", 2)
    collect(host)
    assert row(tenant, today())["sent_messages"] == sent + 2


def test_a_report(tenant: Control, tmp_path: Path, valkey: Valkey) -> None:
    collect(valkey.host)
    folder = tmp_path / "usage"
    how = {"usage_dest": str(folder), "usage_names": {"e2e": "株式会社テスト"}, "usage_language": "ja"}
    assert "changed=1" in tenant.playbook("usage", "--check", **how)
    assert not folder.exists()
    assert "changed=1" in tenant.playbook("usage", **how)
    assert "changed=0" in tenant.playbook("usage", **how)
    assert folder.stat().st_mode & 0o777 == 0o700
    (csv,), (page,), (document,) = (list(folder.glob(f"*.{kind}")) for kind in ("csv", "html", "json"))
    assert re.search(rf"{today()},e2e,株式会社テスト,", csv.read_text(encoding="utf-8-sig"))
    assert "株式会社テスト" in page.read_text()
    assert any(line["tenant"] == "e2e" for line in json.loads(document.read_text())["tenants"])
    assert {path.stat().st_mode & 0o777 for path in (csv, page, document)} == {0o600}


def test_it_cannot_change_a_bill_but_by_the_function(host: testinfra.host.Host) -> None:
    query = "UPDATE directory.usage_day SET day = day"
    asked = host.run(f"runuser -u vmail -- psql --dbname=mailhosting --command='{query}'")
    assert "permission denied" in asked.stderr
