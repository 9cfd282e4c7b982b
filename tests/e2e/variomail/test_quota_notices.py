# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mailbox that fills up: who gets a notice, in which words, and never the same one twice."""

from __future__ import annotations

import contextlib
import json
import smtplib
import time
import uuid
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, may_log_in, receive, until
from ..control import Control
from ..outside import Outside

OUTSIDE = "someone@outside.example"
SABURO = User("saburo@variosecure-net.example", "Vario-Saburo-1")
HANAKO = User("hanako@variosecure-net.example", "Vario-Hanako-2")
DOMAIN = "fill.example"
PASSWORD = "room for two megabytes"
WARNING, EXCEEDED, UNDER = (
    "*** Mail quota warning ***",
    "*** Mail quota exceeded ***",
    "*** Mail quota no longer reached ***",
)

#: The service's own texts.
BODIES = {
    WARNING: """\
MailAddress: {address}
QuotaSize: {size}[MB]

Your mailbox on the server is now more than 90% full.
So that you can continue to receive mail
you need to remove some messages from your mailbox.

メールBOXの容量が90%を越えました。
容量が制限値を越えた場合は、新しいメールが受信できなくなります。
不要なメールをサーバ上のメールBOXから削除して下さい。

— VarioSecure SupportCenter
[support@variosecure.net]
""",
    EXCEEDED: """\
MailAddress: {address}
QuotaSize: {size}[MB]

Your mailbox on the server is now quota exceeded.
So that you can continue to receive mail
you need to remove some messages from your mailbox.

メールBOXの容量が制限値を越えました。
新しいメールが受信できなくなります。
不要なメールをサーバ上のメールBOXから削除して下さい。

– VarioSecure SupportCenter
[support@variosecure.net]
""",
}


class Box:
    """A mailbox by POP3."""

    def __init__(self, server: Server, user: User) -> None:
        self._server, self.user = server, user

    @contextlib.contextmanager
    def session(self) -> Iterator[Any]:
        with contextlib.closing(protocols.pop3(self._server, "pop3s")) as maildrop:
            maildrop.user(self.user.address)
            maildrop.pass_(self.user.password)
            yield maildrop
            maildrop.quit()

    def notices(self, whose: str | None = None) -> list[EmailMessage]:
        """The notices in it, oldest first; about the mailbox of `whose` only."""
        found = []
        with self.session() as maildrop:
            for number, size in (map(int, line.split()) for line in maildrop.list()[1]):
                raw = b"\n".join(maildrop.retr(number)[1]) + b"\n" if size < 10_000 else b""
                if b"Message-ID: <notice-" in raw:
                    found.append(message_from_bytes(raw, policy=policy.default))
        return [each for each in found if whose is None or whose in each.get_content()]

    def subjects(self, whose: str | None = None) -> list[str]:
        return [str(each["Subject"]) for each in self.notices(whose)]

    def delete(self, larger_than: int = 10_000) -> None:
        """Delete all but small mail; -1: everything."""
        with self.session() as maildrop:
            for number, size in (map(int, line.split()) for line in maildrop.list()[1]):
                if size > larger_than:
                    maildrop.dele(number)


@pytest.fixture(scope="module")
def operator(control: Control) -> Iterator[Control]:
    """A tenant with small mailboxes, removed at the end."""
    tenant(control, contacts={})
    control.module("mail_account", address=f"admin@{DOMAIN}", password=PASSWORD)
    tenant(control)
    yield control
    accounts = control.module("mail_info", gather_subset=["tenants"])["tenants"]["fill"]["accounts"]
    control.module("mail_tenant", name="fill", state="absent", grace="0s", expect_closed=accounts)


def tenant(control: Control, **attributes: Any) -> None:
    attributes = {"contacts": {"technical": f"admin@{DOMAIN}"}, "overrides": {}, **attributes}
    control.module("mail_tenant", name="fill", plan="variomail", domains=[{"name": DOMAIN}], **attributes)


@pytest.fixture(scope="module")
def admin(server: Server, operator: Control) -> Box:  # noqa: ARG001 - who made it
    return Box(server, User(f"admin@{DOMAIN}", PASSWORD))


@pytest.fixture
def box(server: Server, operator: Control) -> Box:
    """A mailbox of 2 MiB."""
    user = User(f"u{uuid.uuid4().hex[:8]}@{DOMAIN}", PASSWORD)
    operator.module("mail_account", address=user.address, password=user.password, quota="2M")
    return Box(server, user)


def hand_in(server: Server, user: User, size: int) -> None:
    """Send one mail; try again for a minute if the mailbox has no room yet."""

    def taken() -> bool:
        with contextlib.suppress(smtplib.SMTPRecipientsRefused):
            return bool(receive(server, OUTSIDE, user.address, size=size))
        return False

    assert until(taken, 60)


@pytest.fixture
def fill(server: Server) -> Callable[..., None]:
    """`fill(box, percent)`: a stranger sends mail of so many percents of 2 MiB."""

    def deliver(box: Box, percent: float) -> None:
        with box.session() as maildrop:
            before = maildrop.stat()[0]
        hand_in(server, box.user, int(percent * 2 * 1024 * 1024 / 100 / 71 * 70) - 1000)

        def there() -> bool:
            with box.session() as maildrop:
                return bool(maildrop.stat()[0] > before)

        assert until(there)

    return deliver


def settled(box: Box, *expected: str, whose: str | None = None) -> bool:
    """Whether exactly these notices come, oldest first, and no other after them."""
    if not until(lambda: len(box.subjects(whose)) >= len(expected), 15):
        return False
    time.sleep(1.5)
    return box.subjects(whose) == list(expected)


@pytest.mark.requirement("VM-11")
def test_at_90_and_at_100_percent_the_user_and_the_admin_get_the_services_words(
    server: Server, host: testinfra.host.Host
) -> None:
    hanako, saburo = Box(server, HANAKO), Box(server, SABURO)
    for box in (hanako, saburo):
        host.check_output(f"doveadm expunge -u {box.user.address} mailbox INBOX all")
    host.check_output("postsuper -d ALL")

    def told(box: Box, subject: str) -> bool:
        return subject in box.subjects()

    # 45 MB of 50 MiB are 86 %.
    for _number in range(5):
        hand_in(server, HANAKO, 9_000_000)
    assert until(lambda: "Mail queue is empty" in host.check_output("mailq"), 60)
    assert settled(hanako)
    for subject, size in ((WARNING, 4_000_000), (EXCEEDED, 9_000_000)):
        receive(server, OUTSIDE, HANAKO.address, size=size)
        for box in (hanako, saburo):
            assert until(partial(told, box, subject), 15)
        # No second notice while more mail comes; a full mailbox gets none.
        for _number in range(3):
            with pytest.raises(smtplib.SMTPRecipientsRefused) if subject == EXCEEDED else contextlib.nullcontext():
                receive(server, OUTSIDE, HANAKO.address, size=1000)
    for box in (hanako, saburo):
        assert settled(box, WARNING, EXCEEDED)
        for notice in box.notices():
            assert notice.get_content() == BODIES[notice["Subject"]].format(address=HANAKO.address, size=50)
            assert notice.get_content_charset() == "utf-8"
            assert not notice.defects
            assert notice["To"] == box.user.address
            assert notice["From"] == "VarioSecure SupportCenter <support@variosecure.net>"
            assert notice["Return-Path"] == "<>"
    host.check_output(f"postsuper -d ALL; doveadm expunge -u {HANAKO.address} mailbox INBOX all")


@pytest.mark.requirement("VM-11")
def test_in_iso_2022_jp(server: Server, host: testinfra.host.Host, box: Box, fill: Callable[..., None]) -> None:  # noqa: ARG001
    settings = "/etc/mailhosting/notices/settings.json"
    host.check_output(f"cp -p {settings} {settings}.e2e && sed -i s/utf-8/iso-2022-jp/ {settings}")
    host.check_output("systemctl restart mailhosting-notices")
    try:
        fill(box, 95)
        assert settled(box, WARNING)
        fill(box, 10)
        assert settled(box, WARNING, EXCEEDED)
    finally:
        host.check_output(f"mv {settings}.e2e {settings} && systemctl restart mailhosting-notices")
    for notice in box.notices():
        assert notice.get_content_charset() == "iso-2022-jp"
        assert notice["Content-Transfer-Encoding"] == "7bit"
        assert not notice.defects
        # JIS has one dash, which Python decodes as U+2015.
        said = BODIES[notice["Subject"]].format(address=box.user.address, size=2)
        assert notice.get_content() == said.replace("–", "―").replace("—", "―")


def test_one_mail_that_jumps_over_both_thresholds_makes_one_notice(
    box: Box, admin: Box, fill: Callable[..., None]
) -> None:
    fill(box, 50)
    fill(box, 70)
    assert settled(box, EXCEEDED)
    assert settled(admin, EXCEEDED, whose=box.user.address)


def test_who_makes_room_is_told_once(box: Box, admin: Box, fill: Callable[..., None]) -> None:
    fill(box, 60)
    fill(box, 50)
    assert settled(box, EXCEEDED)
    box.delete()
    assert settled(box, EXCEEDED, UNDER)
    assert settled(admin, EXCEEDED, UNDER, whose=box.user.address)
    assert "less than 90% full" in box.notices()[-1].get_content()


def test_from_exceeded_to_between_and_up_again(box: Box, fill: Callable[..., None]) -> None:
    """Every crossing gets a notice, in both directions."""
    fill(box, 15)
    fill(box, 79)
    assert settled(box, WARNING)
    fill(box, 15)
    assert settled(box, WARNING, EXCEEDED)
    with box.session() as maildrop:
        maildrop.dele(1)
    assert settled(box, WARNING, EXCEEDED, UNDER)
    assert "less than 100% full" in box.notices()[-1].get_content()
    fill(box, 15)
    assert settled(box, WARNING, EXCEEDED, UNDER, EXCEEDED)


def test_a_quota_that_the_operator_lowers_and_raises(
    operator: Control, box: Box, admin: Box, fill: Callable[..., None]
) -> None:
    fill(box, 50)
    operator.module("mail_account", address=box.user.address, quota="1100K")
    assert settled(box, WARNING)
    operator.module("mail_account", address=box.user.address, quota="900K")
    assert settled(box, WARNING, EXCEEDED)
    operator.module("mail_account", address=box.user.address, quota="2M")
    assert settled(box, WARNING, EXCEEDED, UNDER)
    assert settled(admin, WARNING, EXCEEDED, UNDER, whose=box.user.address)
    assert "QuotaSize: 2[MB]" in box.notices()[0].get_content()
    assert "QuotaSize: 1[MB]" in box.notices()[1].get_content()


def test_a_plan_that_gets_less_room_by_a_run_over_files(
    control: Control, variables: dict[str, Any], server: Server, host: testinfra.host.Host
) -> None:
    hanako, saburo = Box(server, HANAKO), Box(server, SABURO)
    for box in (hanako, saburo):
        host.check_output(f"doveadm expunge -u {box.user.address} mailbox INBOX all")
    hand_in(server, HANAKO, 1_500_000)
    smaller = {name: {**plan, "mailbox_quota": "1M"} for name, plan in variables["mail_plans"].items()}
    # A notice about the deletion above would come within a moment.
    time.sleep(2)
    before = hanako.subjects()
    try:
        control.playbook("tenants", mail_plans=smaller)
        assert settled(hanako, *before, EXCEEDED)
        assert saburo.subjects()[-1:] == [EXCEEDED]
        assert HANAKO.address in saburo.notices()[-1].get_content()
    finally:
        control.playbook("tenants")
    assert settled(hanako, *before, EXCEEDED, UNDER)
    host.check_output(f"doveadm expunge -u {HANAKO.address} mailbox INBOX all")


def test_the_admins_mailbox_may_be_full_too(operator: Control, box: Box, admin: Box, fill: Callable[..., None]) -> None:
    operator.module("mail_account", address=admin.user.address, quota="2M")
    fill(admin, 110)
    assert until(lambda: EXCEEDED in admin.subjects(whose=admin.user.address))
    try:
        fill(box, 95)
        assert settled(box, WARNING)
        assert settled(admin, WARNING, whose=box.user.address)
        # A user who is also the contact gets one notice.
        assert admin.subjects(whose=admin.user.address) == [EXCEEDED]
    finally:
        admin.delete()
        operator.module("mail_account", address=admin.user.address, quota="plan")


def test_a_contact_elsewhere_gets_mail_to_which_nothing_comes_back(
    operator: Control, box: Box, fill: Callable[..., None], outside: Outside
) -> None:
    tenant(operator, contacts={"technical": "admin@elsewhere.example"})
    try:
        fill(box, 95)
        assert settled(box, WARNING)
        assert until(lambda: any(mail.recipients == ["admin@elsewhere.example"] for mail in outside.mails))
        (mail,) = (mail for mail in outside.mails if mail.recipients == ["admin@elsewhere.example"])
        assert mail.sender == ""
        assert mail.message["Subject"] == WARNING
        assert mail.message.get_content().replace("\r\n", "\n") == BODIES[WARNING].format(
            address=box.user.address, size=2
        )
    finally:
        tenant(operator)


def test_a_notice_that_fills_the_mailbox_makes_no_other(
    box: Box, fill: Callable[..., None], host: testinfra.host.Host
) -> None:
    fill(box, 89.98)
    assert settled(box)
    # The mail that reaches 90 % leaves 100 bytes to 100 %; the notice itself exceeds that.
    with box.session() as maildrop:
        left = 2 * 1024 * 1024 - maildrop.stat()[1]
    fill(box, (left - 200) / (2 * 1024 * 1024) * 100)
    assert settled(box, WARNING)
    usage = host.check_output(f"doveadm -f json quota get -u {box.user.address}")
    (storage,) = (row for row in json.loads(usage) if row["type"] == "STORAGE")
    assert int(storage["value"]) >= int(storage["limit"])


def test_nothing_is_lost_or_said_twice_while_parts_are_away(
    server: Server, box: Box, fill: Callable[..., None], host: testinfra.host.Host
) -> None:
    host.check_output("systemctl stop mailhosting-notices")
    fill(box, 95)
    host.check_output("systemctl start mailhosting-notices")
    assert settled(box, WARNING)
    host.check_output("systemctl restart mailhosting-notices")
    assert settled(box, WARNING)
    host.check_output("systemctl restart postgresql@17-main")
    assert until(lambda: may_log_in(server, "pop3s", box.user), 30)
    fill(box, 10)
    assert settled(box, WARNING, EXCEEDED)


def test_a_notice_waits_for_dovecot(box: Box, fill: Callable[..., None], host: testinfra.host.Host) -> None:
    host.check_output("mv /run/dovecot/mailhosting-notices /run/dovecot/mailhosting-notices.away")
    try:
        fill(box, 95)
        time.sleep(2)
        assert box.subjects() == []
    finally:
        host.check_output("mv /run/dovecot/mailhosting-notices.away /run/dovecot/mailhosting-notices")
    assert until(lambda: box.subjects() == [WARNING], 30)


def test_a_crossing_that_was_missed_is_found_at_night(box: Box, host: testinfra.host.Host) -> None:
    # This delivery ignores the quota, so Dovecot reports nothing.
    deliver = (
        "import smtplib, sys; session = smtplib.LMTP('/run/dovecot/mailhosting-notices');"
        "session.sendmail('', sys.argv[1], 'Subject: large\\r\\n\\r\\n' + ('y' * 69 + '\\r\\n') * 28000)"
    )
    host.check_output(f'python3 -c "{deliver}" {box.user.address}')
    time.sleep(1)
    assert box.subjects() == []
    for _night in range(2):
        host.check_output("systemctl reset-failed mailhosting-usage; systemctl restart mailhosting-usage")
        assert settled(box, WARNING)


def test_the_user_of_a_suspended_mailbox_is_not_told_but_the_contact_is(
    operator: Control, box: Box, admin: Box, fill: Callable[..., None]
) -> None:
    fill(box, 50)
    operator.module("mail_account", address=box.user.address, state="suspended")
    operator.module("mail_account", address=box.user.address, quota="900K")
    assert settled(admin, EXCEEDED, whose=box.user.address)
    operator.module("mail_account", address=box.user.address, state="active")
    assert settled(box)


def test_thresholds_are_the_plans(operator: Control, box: Box, fill: Callable[..., None]) -> None:
    tenant(operator, overrides={"quota_warnings": [100]})
    try:
        fill(box, 95)
        assert settled(box)
        fill(box, 10)
        assert settled(box, EXCEEDED)
    finally:
        tenant(operator)


@pytest.mark.parametrize(
    "query", ["SELECT password FROM v1.passdb", "SELECT * FROM directory.notice", "SELECT v1.compare_quotas('{}')"]
)
def test_the_program_sees_nothing_but_its_queue(host: testinfra.host.Host, query: str) -> None:
    asked = host.run(f'runuser -u mailhosting-notices -- psql --dbname=mailhosting --command="{query}"')
    assert "permission denied" in asked.stderr


@pytest.mark.parametrize("who", ["nobody", "postfix", "mailhosting-policy"])
def test_nobody_else_delivers_past_a_quota(host: testinfra.host.Host, who: str) -> None:
    ask = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    for socket in ("mailhosting-notices", "mailhosting-quota"):
        asked = host.run(f"runuser -u {who} -- python3 -c '{ask}' /run/dovecot/{socket}")
        assert "PermissionError" in asked.stderr
