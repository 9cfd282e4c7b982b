# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A POP or IMAP login allows relaying on port 25: for which senders, how long, and while a part is away."""

from __future__ import annotations

import contextlib
import email
import shlex
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import LoginRefusedError, User, arrived, fetched, inbox, log_in, message, reachable, until, valkey_cli
from ..control import Control

OUTSIDE = "someone@outside.example"
DOMAIN = "before.example"
SECOND = "second.example"
PASSWORD = "first read, then send"
DENIED = "Relay access denied"
VALKEY = valkey_cli(None)
AS_POLICY = valkey_cli("policy")
#: Runs a command like a process that reads a customer's mail.
AS_IMAP = "setpriv --reuid=vmail --regid=vmail --groups=mailhosting-valkey --no-new-privs"
PASSWORDS = "/etc/mailhosting/valkey"
LOGINS = "/run/mailhosting/logins.sock"
PARTS = "mailhosting-policy.socket mailhosting-logins.socket mailhosting-policy.service"
#: All protocols that log in.
PROTOCOLS = ["pop3", "pop3s", "imap", "imaps", "smtp", "submission", "submissions", "sieve"]

OVERRIDES = {"max_accounts": None, "protocols": PROTOCOLS, "all_address": True}
DOMAINS = [{"name": DOMAIN}, {"name": SECOND}]

#: A client on the host itself by IPv6: prints the code of RCPT before and after a login.
OVER_IPV6 = """
import poplib, smtplib
def relay():
    with smtplib.SMTP("::1", 25, "pc.before.example") as session:
        session.ehlo()
        session.mail("{user.address}")
        return session.rcpt("{outside}")[0]
before = relay()
maildrop = poplib.POP3("::1")
maildrop.user("{user.address}")
maildrop.pass_("{user.password}")
maildrop.quit()
print(before, relay())
"""


@pytest.fixture(scope="module")
def plan(variables: dict[str, Any]) -> str:
    """A plan of the inventory with POP before SMTP."""
    plans: dict[str, dict[str, Any]] = variables["mail_plans"]
    return next(name for name, settings in plans.items() if settings.get("pop_before_smtp"))


@pytest.fixture(scope="module")
def customer(control: Control, server: Server, plan: str) -> Iterator[Control]:
    """A tenant with that plan and every protocol; the host opens the ports, which stay open."""
    control.module("mail_tenant", name="before", plan=plan, overrides=OVERRIDES, domains=DOMAINS)
    if not reachable(server, 4190):
        control.playbook("site")
    yield control
    control.module("mail_tenant", name="before", state="absent", grace="0s")


@pytest.fixture(scope="module")
def users(customer: Control) -> tuple[User, User]:
    """Two users of that tenant."""
    made = User(f"taro@{DOMAIN}", PASSWORD), User(f"ken@{DOMAIN}", PASSWORD)
    for someone in made:
        customer.module("mail_account", address=someone.address, password=someone.password)
    return made


@pytest.fixture
def user(server: Server, host: testinfra.host.Host, users: tuple[User, User]) -> User:
    """A user whose last login, if any, is half a century old."""
    forget(server, host, *users)
    return users[0]


@pytest.fixture
def other(users: tuple[User, User]) -> User:
    """Another user of the same tenant."""
    return users[1]


def own_address(server: Server) -> str:
    """The address from which the host sees these tests."""
    with socket.create_connection((server.address, protocols.PORTS["smtp"]), server.timeout) as connection:
        return str(connection.getsockname()[0])


def forget(server: Server, host: testinfra.host.Host, *users: User) -> None:
    """Set the last login of each user to half a century ago."""
    commands = [f"SET {login_key(client, who)} 0 XX" for client in (own_address(server), "::1") for who in users]
    host.check_output(f"printf '%s\\n' {' '.join(map(shlex.quote, commands))} | {AS_POLICY}")


def login_key(client: str, who: User) -> str:
    return f"mh:1:login:{client}/{who.address}"


@pytest.fixture
def hung_valkey(host: testinfra.host.Host, user: User) -> Iterator[None]:  # noqa: ARG001 - whose keys are written before
    host.check_output("systemctl kill --signal=STOP valkey-server")
    yield
    host.check_output("systemctl kill --signal=CONT valkey-server")


def relay(server: Server, sender: str, recipient: str = OUTSIDE, helo: str | None = None) -> tuple[int, str]:
    """Port 25's reply to a mail of `sender` to `recipient`, without AUTH."""
    with protocols.smtp(server, "smtp") as session:
        if helo:
            session.ehlo(helo)
        code, text = session.mail(sender)
        if code == 250:
            code, text = session.rcpt(recipient)
    return code, text.decode()


@pytest.mark.requirement("VM-10")
@pytest.mark.requirement("OM-5")
def test_a_login_opens_relaying_for_its_own_sender(server: Server, host: testinfra.host.Host, user: User) -> None:
    refused = relay(server, user.address)
    assert refused[0] == 554
    assert DENIED in refused[1]

    log_in(server, "pop3s", user)
    with protocols.smtp(server, "smtp") as session:
        session.mail(user.address)
        assert session.rcpt(OUTSIDE)[0] == 250
        code, text = session.data(message(user.address, OUTSIDE).as_bytes())
    assert code == 250
    host.check_output("postsuper -d " + text.decode().rsplit(maxsplit=1)[-1])


def test_what_is_relayed_does_not_say_where_it_was_written(
    server: Server, host: testinfra.host.Host, user: User, other: User
) -> None:
    log_in(server, "pop3s", user)
    written = message(user.address, other.address)
    with protocols.smtp(server, "smtp") as session:
        session.ehlo("taros-pc")
        session.mail(user.address)
        assert [session.rcpt(to)[0] for to in (OUTSIDE, f"also-{OUTSIDE}", other.address)] == [250, 250, 250]
        code, text = session.data(written.as_bytes())
    assert code == 250
    queue_id = text.decode().rsplit(maxsplit=1)[-1]
    assert arrived(server, other, written["Subject"])
    with inbox(server, other) as session:
        received = email.message_from_bytes(fetched(session, "*", "BODY.PEEK[HEADER]")).get_all("Received", [])
    host.check_output(f"postsuper -d {queue_id}")
    own, above = received[-1], received[-2]
    assert "taros-pc" not in own
    assert own_address(server) not in own
    assert own.startswith("from localhost (localhost [127.0.0.1])")
    assert f" id {queue_id}" in own
    assert "(POP before SMTP);" in above
    assert sum("POP before SMTP" in line for line in received) == 1


@pytest.mark.parametrize("protocol", ["pop3", "pop3s", "imap", "imaps"])
def test_it_opens_at_once(server: Server, host: testinfra.host.Host, user: User, protocol: str) -> None:
    for _ in range(5):
        forget(server, host, user)
        log_in(server, protocol, user)
        assert relay(server, user.address)[0] == 250


@pytest.mark.parametrize("protocol", ["smtp", "submission", "submissions", "sieve"])
def test_a_login_by_another_protocol_opens_nothing(server: Server, user: User, protocol: str) -> None:
    log_in(server, protocol, user)
    assert relay(server, user.address)[0] == 554


@pytest.mark.parametrize("protocol", ["pop3s", "imaps"])
def test_who_may_not_log_in_opens_nothing(server: Server, customer: Control, user: User, protocol: str) -> None:
    customer.module("mail_account", address=user.address, state="no_login")
    try:
        with pytest.raises(LoginRefusedError):
            log_in(server, protocol, user)
        assert relay(server, user.address)[0] in (451, 554)
    finally:
        customer.module("mail_account", address=user.address, state="active")
    assert relay(server, user.address)[0] == 554


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ({"state": "no_login"}, {"state": "active"}),
        ({"hold": [{"scope": "login", "reason": "test"}]}, {"release": ["login"]}),
        ({"password": "another", "update_password": "always"}, {"password": PASSWORD, "update_password": "always"}),
    ],
    ids=["no_login", "a hold of logins", "another password"],
)
def test_relaying_ends_with_the_login(
    server: Server, customer: Control, user: User, change: dict[str, Any], undo: dict[str, Any]
) -> None:
    log_in(server, "pop3s", user)
    assert relay(server, user.address)[0] == 250
    customer.module("mail_account", address=user.address, **change)
    try:
        assert relay(server, user.address)[0] == 554
    finally:
        customer.module("mail_account", address=user.address, **undo)
    log_in(server, "pop3s", user)
    assert relay(server, user.address)[0] == 250


def test_it_opens_for_no_other_sender(server: Server, user: User, other: User) -> None:
    log_in(server, "pop3s", user)
    for sender in (other.address, f"nobody@{DOMAIN}", "someone@elsewhere.example", ""):
        code, text = relay(server, sender)
        assert code == 554, (sender, text)


def test_what_is_left_of_an_extension_is_the_sender(server: Server, user: User) -> None:
    log_in(server, "pop3s", user)
    assert relay(server, user.address.replace("@", "+shop@").upper())[0] == 250


def test_an_alias_may_be_the_sender_of_those_it_delivers_to(
    server: Server, customer: Control, user: User, other: User
) -> None:
    alias = f"sales@{DOMAIN}"
    customer.module("mail_alias", address=alias, targets=[user.address])
    log_in(server, "pop3s", other)
    assert relay(server, alias)[0] == 554
    log_in(server, "pop3s", user)
    assert relay(server, alias)[0] == 250


def test_a_login_lets_its_sender_write_to_all_of_its_own_domain(server: Server, user: User, other: User) -> None:
    code, text = relay(server, user.address, f"all@{DOMAIN}")
    assert code == 554
    assert text.endswith(f"Only members of {DOMAIN} may write to this address, after logging in")
    log_in(server, "pop3s", user)
    assert relay(server, user.address, f"all@{DOMAIN}")[0] == 250
    for sender in (other.address, "someone@elsewhere.example", ""):
        assert relay(server, sender, f"all@{DOMAIN}")[0] == 554, sender


def test_a_mail_program_may_greet_with_any_name_after_the_login(server: Server, user: User) -> None:
    assert relay(server, user.address, helo="my_pc")[0] in (501, 504)
    log_in(server, "pop3s", user)
    assert relay(server, user.address, helo="my_pc")[0] == 250


@pytest.mark.requirement("VM-10")
@pytest.mark.requirement("OM-5")
def test_it_closes_after_the_plans_time(server: Server, host: testinfra.host.Host, user: User) -> None:
    log_in(server, "pop3s", user)
    assert relay(server, user.address)[0] == 250
    # As if three days ago; no plan allows so long.
    host.check_output(f"{AS_POLICY} SET {login_key(own_address(server), user)} {int(time.time()) - 3 * 86400}")
    assert relay(server, user.address)[0] == 554


def test_valkey_forgets_a_login_by_itself(server: Server, host: testinfra.host.Host, user: User) -> None:
    log_in(server, "pop3s", user)
    # No Valkey user may read a key's lifetime, so look into its file on disk.
    key = login_key(own_address(server), user)
    # SET, the key, a length, the time, a length, PXAT
    assert until(lambda: last_commands(host).rpartition(key)[2].upper().splitlines()[4:5] == ["PXAT"], 3)


def last_commands(host: testinfra.host.Host) -> str:
    """The end of Valkey's append-only file."""
    return str(host.check_output("cat /var/lib/valkey/appendonlydir/*.incr.aof | tail -c 2000"))


def test_a_failed_login_opens_nothing(server: Server, user: User) -> None:
    with pytest.raises(LoginRefusedError):
        log_in(server, "pop3s", User(user.address, "wrong"))
    assert relay(server, user.address)[0] == 554


@pytest.mark.parametrize("protocol", ["submission", "submissions"])
def test_587_and_465_still_want_a_login_of_their_own(server: Server, user: User, protocol: str) -> None:
    log_in(server, "pop3s", user)
    assert relay(server, user.address)[0] == 250
    with protocols.smtp(server, protocol) as session:
        code = session.mail(user.address)[0]
        if code == 250:
            code = session.rcpt(OUTSIDE)[0]
    assert code in (530, 554)


def test_ipv6_is_no_different(host: testinfra.host.Host, user: User) -> None:
    assert "::1" in host.check_output("ip -6 address show dev lo"), "the test host must have IPv6"
    program = OVER_IPV6.format(user=user, outside=OUTSIDE)
    assert host.check_output(f"python3 -c '{program}'") == "554 250"


@pytest.mark.timing
@pytest.mark.usefixtures("hung_valkey")
def test_while_valkey_hangs_relaying_waits_and_logins_go_on(server: Server, user: User, other: User) -> None:
    start = time.monotonic()
    log_in(server, "pop3s", user)
    assert time.monotonic() - start < 0.9, "the login waited for Valkey"
    code, text = relay(server, user.address)
    assert code == 451, text
    # Inbound mail needs no login.
    assert relay(server, OUTSIDE, other.address)[0] == 250


@pytest.mark.parametrize(
    ("away", "back"),
    [("kill --signal=STOP", "kill --signal=CONT"), ("stop", "start"), ("kill --signal=KILL", "start")],
    ids=["hung", "stopped", "killed"],
)
def test_a_login_while_valkey_was_away_opens_when_it_is_back(
    server: Server, host: testinfra.host.Host, user: User, away: str, back: str
) -> None:
    host.check_output(f"systemctl {away} valkey-server")
    try:
        log_in(server, "pop3s", user)
    finally:
        host.check_output(f"systemctl {back} valkey-server")
    assert until(lambda: relay(server, user.address)[0] == 250, 10)


def test_without_valkey_relaying_waits_and_logins_go_on(server: Server, host: testinfra.host.Host, user: User) -> None:
    host.check_output("systemctl stop valkey-server")
    try:
        log_in(server, "pop3s", user)
        assert relay(server, user.address)[0] == 451
        assert relay(server, OUTSIDE)[0] == 554, "nobody's sender asks Valkey nothing"
    finally:
        host.check_output("systemctl start valkey-server")


def test_what_valkey_knew_survives_its_end(server: Server, host: testinfra.host.Host, user: User) -> None:
    log_in(server, "pop3s", user)
    time.sleep(1.2)  # Valkey writes to the disk every second
    host.check_output("systemctl kill --signal=KILL --kill-whom=main valkey-server")
    deadline = time.monotonic() + 10
    while (code := relay(server, user.address)[0]) == 451 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert code == 250


def test_without_the_policy_service_relaying_waits(
    server: Server, host: testinfra.host.Host, user: User, other: User
) -> None:
    log_in(server, "pop3s", user)
    host.check_output(f"systemctl stop {PARTS}")
    try:
        code, text = relay(server, user.address)
        assert code == 451, text
        assert relay(server, OUTSIDE, other.address)[0] == 250
    finally:
        host.check_output(f"systemctl start {PARTS}")
    assert relay(server, user.address)[0] == 250


@pytest.mark.timing
@pytest.mark.parametrize(
    ("away", "back"),
    [
        ("systemctl stop mailhosting-policy", "true"),
        ("systemctl kill --signal=STOP mailhosting-policy", "systemctl kill --signal=CONT mailhosting-policy"),
        ("systemctl kill --signal=KILL mailhosting-policy", "true"),
        ("systemctl restart mailhosting-policy", "true"),
        (f"systemctl stop {PARTS}", f"systemctl start {PARTS}"),
        ("systemctl reload dovecot", "true"),
        ("systemctl restart dovecot", "true"),
    ],
)
def test_a_login_while_the_service_is_away_goes_on_and_opens(
    server: Server, host: testinfra.host.Host, user: User, other: User, away: str, back: str
) -> None:
    log_in(server, "pop3s", other)  # Dovecot is connected to the service
    host.check_output("systemctl reset-failed dovecot")
    host.check_output(away)
    try:
        start = time.monotonic()
        log_in(server, "pop3s", user)
        assert time.monotonic() - start < 0.9, "the login waited"
    finally:
        host.check_output(back)
    assert relay(server, user.address)[0] == 250


def test_a_login_after_dovecots_statistics_died_opens_at_last(
    server: Server, host: testinfra.host.Host, user: User, other: User
) -> None:
    with contextlib.ExitStack() as sessions:
        for _ in range(6):  # as many logins as processes, so that none is left without a connection
            sessions.enter_context(inbox(server, other))
    host.check_output("pkill --signal KILL --exact stats")

    def opens() -> bool:
        log_in(server, "imaps", user)
        return relay(server, user.address)[0] == 250

    # Dovecot's processes reconnect ten seconds after the last try.
    assert until(opens, 20)


def test_a_killed_policy_service_refuses_nobody(server: Server, host: testinfra.host.Host, user: User) -> None:
    log_in(server, "pop3s", user)
    host.check_output("systemctl kill --signal=KILL --kill-whom=main mailhosting-policy")
    with protocols.smtp(server, "smtp") as session:
        session.mail(user.address)
        assert session.rcpt(OUTSIDE)[0] == 250, "the socket is systemd's, and requests wait in it"


def test_garbage_on_its_socket_harms_nobody(server: Server, host: testinfra.host.Host, user: User) -> None:
    log_in(server, "pop3s", user)
    say = "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]); "
    say += "s.sendall(os.urandom(200_000)); print(s.recv(9))"
    host.run(f"python3 -c '{say}' /var/spool/postfix/private/mailhosting-policy")
    host.run(f"python3 -c '{say}' {LOGINS}")
    assert relay(server, user.address)[0] == 250
    forget(server, host, user)
    log_in(server, "pop3s", user)
    assert relay(server, user.address)[0] == 250


@pytest.mark.usefixtures("plan")
def test_valkey_runs_no_other_program(host: testinfra.host.Host) -> None:
    process = host.check_output("systemctl show --value --property=MainPID valkey-server")
    host.check_output(f"nsenter --target {process} --mount -- valkey-server --version")
    tried = host.run(f"nsenter --target {process} --mount -- sh -c true")
    assert "Permission denied" in tried.stderr


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize(
    "query", ["SELECT password FROM v1.passdb", "SELECT * FROM directory.account", "CREATE TABLE v1.t (i int)"]
)
def test_the_policy_service_sees_no_hash(host: testinfra.host.Host, query: str) -> None:
    asked = host.run(f'runuser -u mailhosting-policy -- psql --dbname=mailhosting --command="{query}"')
    assert "permission denied" in asked.stderr


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize(
    ("user_", "command"),
    [
        ("policy", "SET mh:1:other 1"),
        ("policy", "MGET mh:1:other"),
        ("policy", "DEL mh:1:login:192.0.2.7/x@before.example"),
        ("gate", "SET mh:1:login:192.0.2.7/x@before.example 1"),
        ("policy", "FLUSHALL"),
        (None, "SET mh:1:other 1"),
        (None, "SET mh:1:login:192.0.2.7/x@before.example 1"),
        (None, "GET mh:1:login:192.0.2.7/x@before.example"),
        (None, "KEYS *"),
        (None, "CONFIG GET dir"),
        (None, "FLUSHALL"),
    ],
)
def test_a_user_of_valkey_may_do_its_part_only(host: testinfra.host.Host, user_: str | None, command: str) -> None:
    said = host.run(f"{valkey_cli(user_)} {command.replace('*', chr(39) + '*' + chr(39))}")
    assert "NOPERM" in said.stdout + said.stderr


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("name", ["policy", "gate", "usage"])
@pytest.mark.parametrize("password", ["''", "none"])
def test_who_reads_mail_becomes_no_other_user_of_valkey(host: testinfra.host.Host, name: str, password: str) -> None:
    assert "PONG" not in host.check_output(f"{AS_IMAP} {VALKEY} SET mh:1:other 1"), "it must get to the socket"
    said = host.run(f"{AS_IMAP} {VALKEY} AUTH {name} {password}")
    assert "WRONGPASS" in said.stdout + said.stderr


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("name", ["policy", "gate", "usage"])
def test_the_passwords_are_roots(host: testinfra.host.Host, name: str) -> None:
    assert host.check_output(f"stat --format='%U %a' {PASSWORDS} {PASSWORDS}/{name}") == "root 700\nroot 600"
    unit = "mailhosting-gate@in" if name == "gate" else f"mailhosting-{name}"
    # Nor with the descriptor of a process that has it.
    pid = host.check_output(f"systemctl show --value --property=MainPID {unit}")
    found = host.run(f"{AS_IMAP} cat {PASSWORDS}/{name} /proc/{pid}/fd/*")
    assert host.check_output(f"cat {PASSWORDS}/{name}") not in found.stdout
    assert "Permission denied" in found.stderr


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("who", ["nobody", "postfix", "dovecot"])
def test_only_the_group_gets_to_valkey(host: testinfra.host.Host, who: str) -> None:
    assert "Permission denied" in host.run(f"runuser -u {who} -- {VALKEY} PING").stderr


@pytest.mark.usefixtures("plan")
def test_valkey_has_no_port(host: testinfra.host.Host) -> None:
    assert "valkey" not in host.check_output("ss --listening --tcp --udp --processes --no-header")


def connecting(host: testinfra.host.Host, who: str, path: str) -> str:
    """The reply to a user who connects to a socket."""
    connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    return str(host.run(f"runuser -u {who} -- python3 -c '{connect}' {path}").stderr)


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("who", ["nobody", "dovecot", "vmail", "mailhosting-policy"])
def test_only_postfix_gets_an_answer(host: testinfra.host.Host, who: str) -> None:
    assert "PermissionError" in connecting(host, who, "/var/spool/postfix/private/mailhosting-policy")


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("who", ["nobody", "postfix", "vmail", "mailhosting-policy"])
def test_only_dovecot_says_who_logged_in(host: testinfra.host.Host, who: str) -> None:
    assert "PermissionError" in connecting(host, who, LOGINS)


# Last, because it changes what the plans have.


def passwords(host: testinfra.host.Host) -> dict[str, str]:
    return {name: host.check_output(f"cat {PASSWORDS}/{name}") for name in ("policy", "gate", "usage")}


@pytest.fixture(scope="module")
def run_again(customer: Control, host: testinfra.host.Host, plan: str) -> Iterator[tuple[dict[str, str], str]]:
    """The passwords before one plan lost the key, and the output of the runs after that and after more senders."""
    before = passwords(host)
    host.check_output(f"rm {PASSWORDS}/policy")
    wide = OVERRIDES | {"pop_before_smtp": {"for": "30m", "senders": "tenant"}}
    customer.module("mail_tenant", name="before", plan=plan, overrides=wide, domains=DOMAINS)
    yield before, customer.playbook("site", "--diff")
    customer.module("mail_tenant", name="before", plan=plan, overrides=OVERRIDES, domains=DOMAINS)


def test_a_password_of_valkey_that_is_removed_is_made_anew(
    server: Server, host: testinfra.host.Host, run_again: tuple[dict[str, str], str], user: User
) -> None:
    before, said = run_again
    after = passwords(host)
    assert not any(password in said for password in (*before.values(), *after.values()))
    assert after.pop("policy") != before.pop("policy")
    assert after == before
    log_in(server, "pop3s", user)
    assert relay(server, user.address)[0] == 250


@pytest.mark.requirement("VM-10")
@pytest.mark.usefixtures("run_again")
def test_a_plan_may_let_a_login_send_as_all_of_its_tenant(
    server: Server, host: testinfra.host.Host, customer: Control, user: User, other: User
) -> None:
    alias = f"shop@{SECOND}"
    customer.module("mail_alias", address=alias, targets=[OUTSIDE])
    host.check_output(f"printf 'SET mh:1:login:{own_address(server)}/@{DOMAIN} 0 XX' | {AS_POLICY}")
    senders = (other.address, alias)
    assert [relay(server, sender)[0] for sender in senders] == [554, 554]
    log_in(server, "pop3s", user)
    assert [relay(server, sender)[0] for sender in senders] == [250, 250]
    for sender in (f"nobody@{DOMAIN}", "someone@elsewhere.example", ""):
        assert relay(server, sender)[0] == 554, sender
    customer.module("mail_account", address=user.address, state="suspended")
    try:
        assert relay(server, other.address)[0] == 554, "who may not send opens nothing for others"
    finally:
        customer.module("mail_account", address=user.address, state="active")
