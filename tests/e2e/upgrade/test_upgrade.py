# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of site.yml brings a host of the last release to the working tree, while mail comes and goes."""

from __future__ import annotations

import contextlib
import imaplib
import json
import smtplib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import schema

from .. import identity
from ..clients import User, inbox, log_in, message, receive, send, subjects, submission, until
from ..conftest import HUNG_UP_ON
from ..control import Control
from ..outside import Outside
from ..traffic import Client, UnknownOutcomeError, going_on
from . import mailboxes

pytestmark = HUNG_UP_ON

TARO = User("taro@acme.example", "correct horse battery staple")
HANAKO = User("hanako@acme.example", "mada mada dane")
KEN = User("ken@acme.example", "not so secret 3")
BILL = User("bill@bolt.example", "Tr0ub4dor&3")
#: Her plan holds her mail from the third of one content on.
MIA = User("mia@crowd.example", "not so secret 5")
LETTER = "Dear customer, our shop has a new address, and we would be glad to see you there one of these days.\n"
USERS = (TARO, HANAKO, KEN, BILL)
#: An account that forwards all mail to an external address.
MORI, MORI_OUTSIDE = "mori@acme.example", "mori@outside.example"
PARTNER, PROBE = "partner@outside.example", "probe@outside.example"
STRANGER = "stranger@outside.example"
#: 日本語, and a folder in it.
FOLDERS = ("Archive", "&ZeVnLIqe-", "&ZeVnLIqe-/2026", "Old")
SUBSCRIBED = FOLDERS[:3]
#: Mailboxes that every account has and subscribes to since this release or an earlier one.
USUAL = {b"Archive", b"Drafts", b"Junk", b"Sent", b"Trash"}
FLAGS = ("", r"\Seen", r"\Seen \Answered", r"\Flagged $Label1", r"\Draft", r"\Seen $Forwarded")
SCRIPT = 'require "fileinto"; if header :contains "subject" "to be filed" { fileinto "Archive"; }'
#: Resident units, and journald's id of the message that a unit has started.
RESIDENT = ("dovecot", *(f"mailhosting-{name}" for name in ("gate@in", "gate@out", "notices", "policy", "usage")))
STARTED = "39f53479d3a045ac8e11786248231fbf"
MIGRATED = 'runuser -u postgres -- psql -Atc "SELECT version FROM directory.migration ORDER BY 1" mailhosting'


@dataclass
class Ledger:
    """Mail that the host accepted: by subject the inboxes that must get it; and mail that it may have accepted."""

    accepted: dict[str, tuple[User, ...]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def hand_in(self, session: smtplib.SMTP, sender: str, recipient: str, *inboxes: User) -> None:
        """Send one mail in a session.

        Raises: smtplib.SMTPException, OSError, UnknownOutcomeError.
        """
        made = message(sender, recipient)
        for code, text in (session.mail(sender), session.rcpt(recipient)):
            if code != 250:
                raise smtplib.SMTPResponseException(code, text)
        try:
            code, text = session.data(made.as_bytes())
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            self.unknown.add(str(made["Subject"]))
            raise UnknownOutcomeError(str(error)) from error
        if code != 250:
            raise smtplib.SMTPResponseException(code, text)
        self.accepted[str(made["Subject"])] = inboxes


class State(NamedTuple):
    """What must survive an upgrade."""

    accounts: dict[User, mailboxes.Account]
    scripts: str
    queue: list[dict[str, Any]]
    counted: dict[str, Any]
    identity: dict[str, str]


@dataclass
class Upgrade:
    """The result.  `waiting`: subjects of mail for mailboxes that was in the queue meanwhile."""

    before: State
    after: State
    ledger: Ledger
    clients: list[Client]
    waiting: dict[str, tuple[User, ...]]
    migrated: list[int]
    began: float
    ended: float


def fill(server: Server, user: User) -> None:
    """Create folders, subscriptions, and mail with flags and dates."""
    with protocols.imap(server, "imaps") as session:
        session.login(*user)
        for folder in FOLDERS:
            assert session.create(folder)[0] == "OK"
        for folder in SUBSCRIBED:
            assert session.subscribe(folder)[0] == "OK"
        for number, folder in enumerate(("INBOX", *FOLDERS)):
            for count, flags in enumerate(FLAGS):
                made = message(STRANGER, user.address, size=1000 * count)
                date = imaplib.Time2Internaldate(1_700_000_000 + 86_400 * number + count)
                assert session.append(folder, f"({flags})", date, made.as_bytes())[0] == "OK"
        # A removed mail's UID must not be used again.
        session.select("INBOX")
        session.store("2", "+FLAGS", r"(\Deleted)")
        session.expunge()


def queue(host: testinfra.host.Host, name: str) -> list[dict[str, Any]]:
    """The content of a queue of Postfix, without what changes by waiting."""
    entries = [json.loads(line) for line in host.check_output("postqueue -j").splitlines()]
    keys = ("queue_id", "arrival_time", "message_size", "sender")
    return [
        {key: entry[key] for key in keys} | {"to": [recipient["address"] for recipient in entry["recipients"]]}
        for entry in sorted(entries, key=lambda entry: str(entry["queue_id"]))
        if entry["queue_name"] == name
    ]


def limits(host: testinfra.host.Host) -> dict[str, Any]:
    """MIA's use of her limits, and her held mail."""
    # The release before has another command for them.
    command = f"$(command -v mailhosting-limits || echo mailhosting limits) show --json {MIA.address}"
    shown = json.loads(host.check_output(command))
    return {
        kind: [{key: value for key, value in entry.items() if key != "seconds_left"} for entry in shown[kind]]
        for kind in ("windows", "holds")
    }


def read_state(server: Server, host: testinfra.host.Host) -> State:
    scripts = host.check_output(f"doveadm sieve list -u {BILL.address}; doveadm sieve get -u {BILL.address} mine")
    accounts = {user: mailboxes.read(server, user) for user in USERS}
    return State(accounts, scripts, queue(host, "hold"), limits(host), identity.of(host))


def wait_in_queue(server: Server, host: testinfra.host.Host) -> dict[str, tuple[User, ...]]:
    """Mail that the host accepted and deferred: by subject the inboxes that must get it."""
    host.check_output("postconf -e defer_transports=lmtp,smtp && postfix reload")
    taken = {
        receive(server, STRANGER, HANAKO.address): (HANAKO,),
        receive(server, STRANGER, KEN.address): (KEN, TARO),
        receive(server, STRANGER, "anybody@acme.example"): (TARO,),
        send(server, BILL, "sales@acme.example"): (TARO, HANAKO),
    }
    send(server, BILL, PARTNER)
    receive(server, STRANGER, MORI)
    assert until(lambda: len(queue(host, "deferred")) == len(taken) + 2)
    host.check_output("postsuper -h ALL deferred && postconf -X defer_transports && postfix reload")
    return taken


def clients(server: Server, ledger: Ledger) -> list[Client]:
    """An external server, users who send, and users who read."""

    def stranger(recipient: str, *inboxes: User) -> Callable[[], None]:
        def act() -> None:
            with protocols.smtp(server, "smtp") as session:
                ledger.hand_in(session, STRANGER, recipient, *inboxes)

        return act

    def sender(protocol: str, recipient: str, *inboxes: User) -> Callable[[], None]:
        def act() -> None:
            with submission(server, BILL, protocol) as session:
                ledger.hand_in(session, BILL.address, recipient, *inboxes)

        return act

    seen: set[bytes] = set()

    def reader() -> None:
        with inbox(server, HANAKO) as session:
            now = set(session.uid("SEARCH", "ALL")[1][0].split())
        if lost := seen - now:
            raise imaplib.IMAP4.error(f"gone: {lost}")
        seen.update(now)

    return [
        Client("25, to a mailbox", stranger(HANAKO.address, HANAKO)),
        Client("25, to one who has it sent on", stranger(KEN.address, KEN, TARO), pace=2),
        Client("587, to an alias", sender("submission", "sales@acme.example", TARO, HANAKO)),
        Client("465", sender("submissions", TARO.address, TARO), pace=2),
        Client("IMAP, reading", reader, pace=1),
        Client("POP3", lambda: log_in(server, "pop3", KEN), pace=1),
        Client("ManageSieve", lambda: log_in(server, "sieve", TARO), pace=2),
    ]


@pytest.fixture(scope="module", autouse=True)
def upgrade(server: Server, host: testinfra.host.Host, control: Control) -> Upgrade:
    """Fill the host of the last release, and bring it to the working tree."""
    for user in USERS:
        fill(server, user)
    host.check_output(f"doveadm sieve put -u {BILL.address} -a mine <<'END'\n{SCRIPT}\nEND")
    for _ in range(4):
        made = message(MIA.address, BILL.address)
        made.set_content(LETTER)
        with submission(server, MIA) as session:
            session.send_message(made)
    waiting = wait_in_queue(server, host)
    before = read_state(server, host)
    migrated = [int(line) for line in host.check_output(f"cd / && {MIGRATED}").splitlines()]

    ledger = Ledger()
    everybody = clients(server, ledger)
    began = time.time()
    with going_on(everybody):
        control.playbook("site")
    print(f"\nsite.yml took {time.time() - began:.0f} s;", *everybody, sep="\n  ")
    ended = time.time()
    return Upgrade(before, read_state(server, host), ledger, everybody, waiting, migrated, began, ended)


def test_a_second_run_changes_nothing(control: Control) -> None:
    assert " changed=0 " in control.playbook("site").splitlines()[-2]


def test_verify_finds_it_in_order(upgrade: Upgrade, control: Control) -> None:
    # Until then Postfix logged that Dovecot was restarting.
    control.playbook("verify", verify_since=f"@{upgrade.ended:.0f}")


def test_nobody_was_told_more_than_to_come_again(upgrade: Upgrade) -> None:
    assert {client.name: client.refused for client in upgrade.clients if client.refused} == {}


def test_everybody_was_served_meanwhile(upgrade: Upgrade) -> None:
    assert {client.name: client.done for client in upgrade.clients if client.done < 10} == {}


@pytest.fixture(scope="module")
def released(upgrade: Upgrade, server: Server, host: testinfra.host.Host, outside: Outside) -> Outside:
    """The external server after all deferred mail of the last release was released, but for MIA's."""

    def is_reached() -> bool:
        send(server, BILL, PROBE)
        return until(lambda: bool(outside.mails_to(PROBE)), 2)

    # Postfix takes a moment to reach it.
    assert until(is_reached)
    ids = " ".join(entry["queue_id"] for entry in upgrade.before.queue if entry["sender"] != MIA.address)
    host.check_output(f"for id in {ids}; do postsuper -H $id; done; postqueue -f")
    return outside


@pytest.mark.usefixtures("released")
def test_every_mail_that_was_accepted_came_once(upgrade: Upgrade, server: Server) -> None:
    ledger = upgrade.ledger
    accepted = ledger.accepted | upgrade.waiting
    expected = Counter((subject, user) for subject, users in accepted.items() for user in users)

    def came() -> Counter[tuple[str, User]]:
        """How often each mail of the ledger is in each inbox."""
        sent = accepted.keys() | ledger.unknown
        return Counter((subject, user) for user in USERS for subject in subjects(server, user) if subject in sent)

    assert len(ledger.accepted) > 50
    until(lambda: not expected - came(), 60)
    found = came()
    assert expected - found == Counter()
    # A client without a reply to its last line may send again, which is another mail; none may come twice.
    assert {mail: count for mail, count in found.items() if count > 1} == {}


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.address)
def test_mailboxes_are_what_they_were(upgrade: Upgrade, user: User) -> None:
    before, after = upgrade.before.accounts[user], upgrade.after.accounts[user]
    assert before.mails.keys() >= {b"INBOX", *(folder.encode() for folder in FOLDERS)}
    assert {folder: after.validity.get(folder) for folder in before.validity} == before.validity
    assert after.validity.keys() - before.validity.keys() <= USUAL
    assert before.subscribed <= after.subscribed <= before.subscribed | USUAL
    for folder, mails in before.mails.items():
        kept = {uid: after.mails[folder].get(uid) for uid in mails}
        assert kept == mails
        # New mails have higher UIDs than the old ones.
        assert min(after.mails[folder].keys() - mails.keys(), default=10**9) > max(mails, default=0)
    assert after.uidls[: len(before.uidls)] == before.uidls


def test_filters_are_what_they_were(upgrade: Upgrade, server: Server) -> None:
    assert SCRIPT in upgrade.before.scripts
    assert upgrade.after.scripts == upgrade.before.scripts
    filed = message(STRANGER, BILL.address)
    filed.replace_header("Subject", f"to be filed {filed['Subject']}")
    with protocols.smtp(server, "smtp") as session:
        session.send_message(filed)
    assert until(lambda: len(mailboxes.read(server, BILL).mails[b"Archive"]) == len(FLAGS) + 1, 60)


def test_what_waited_goes_out_and_bounces_find_their_way_back(
    upgrade: Upgrade, server: Server, released: Outside
) -> None:
    assert upgrade.after.queue == upgrade.before.queue
    assert released.mail_to(PARTNER).sender == BILL.address
    # The release before rewrote this forwarded mail's sender; it reached no server then.
    (rewritten,) = (entry["sender"] for entry in upgrade.before.queue if entry["to"] == [MORI_OUTSIDE])
    assert rewritten.startswith("SRS0=")
    receive(server, "", rewritten)
    assert released.mail_to(STRANGER).sender == ""


def test_what_was_counted_and_held_still_is(upgrade: Upgrade, server: Server, host: testinfra.host.Host) -> None:
    assert [hold["mails"] for hold in upgrade.before.counted["holds"]] == [2]
    assert [window["counted"] for window in upgrade.before.counted["windows"]] == [4]
    # The present name of the kind.
    held = [{**hold, "kind": "bulk_mail"} for hold in upgrade.before.counted["holds"]]
    assert upgrade.after.counted == {**upgrade.before.counted, "holds": held}
    there = len(mailboxes.read(server, BILL).mails[b"INBOX"])
    host.check_output(f"mailhosting limits release {MIA.address}")
    assert until(lambda: len(mailboxes.read(server, BILL).mails[b"INBOX"]) == there + 2, 60)


def test_the_host_is_itself(upgrade: Upgrade) -> None:
    assert upgrade.after.identity == upgrade.before.identity


def test_what_stays_resident_was_restarted_once(upgrade: Upgrade, host: testinfra.host.Host) -> None:
    during = f"--since=@{upgrade.began:.0f} --until=@{upgrade.ended:.0f}"
    lines = host.check_output(f"journalctl --output=cat {during} _PID=1 MESSAGE_ID={STARTED}").splitlines()
    started = Counter(line.split()[1].removesuffix(".service") for line in lines)
    assert {name: started[name] for name in RESIDENT} == dict.fromkeys(RESIDENT, 1)


def test_no_program_of_the_release_before_is_left(host: testinfra.host.Host) -> None:
    found = host.check_output("cd /usr && ls lib/mailhosting local/lib/mailhosting").split()
    of_this_release = {"mailhosting", "mailhosting_directory", "mailhosting_dovecot.py", "run", "start.py"}
    assert of_this_release <= set(found)
    assert {name for name in found if name.endswith(".py")} == {"mailhosting_dovecot.py", "start.py"}
    assert not {"gate", "notices", "policy", "usage"} & set(found)
    assert [name for name in host.file("/usr/local/sbin").listdir() if name.startswith("mail")] == ["mailhosting"]


def test_no_unit_of_the_release_before_is_left(host: testinfra.host.Host) -> None:
    assert host.check_output("systemctl list-units --all --plain --no-legend 'mailhosting-quota*'") == ""
    assert host.check_output("find /etc/systemd/system -name 'mailhosting-quota*'") == ""


def test_the_directory_is_of_this_release(upgrade: Upgrade, host: testinfra.host.Host) -> None:
    versions = [int(line) for line in host.check_output(f"cd / && {MIGRATED}").splitlines()]
    assert versions == [version for version, _sql in schema.MIGRATIONS]
    assert versions[: len(upgrade.migrated)] == upgrade.migrated


def test_everybody_logs_in_as_before(server: Server) -> None:
    for protocol in ("pop3", "pop3s", "imap", "imaps", "submission", "submissions", "sieve"):
        for user in USERS:
            log_in(server, protocol, user)
    # Secrets for APOP are still decrypted with the old key.
    for user in (TARO, HANAKO, KEN):
        with contextlib.closing(protocols.pop3(server, "pop3s")) as maildrop:
            maildrop.apop(*user)
