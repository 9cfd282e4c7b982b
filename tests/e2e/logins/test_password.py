# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that changes passwords: its users, its replies, and its forbidden acts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.password_hashes import SCHEMES, password_hash

from ..clients import User, log_in, may_log_in, open_sessions, submission, until
from ..control import Control

USER = User("own@e2e.example", "the first password")
NEXT = User(USER.address, "the user's own next one")
#: Sends standard input to the socket and prints the reply.
CLIENT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as service:
    service.settimeout(20)
    service.connect("/run/mailhosting/password.sock")
    try:
        service.sendall(sys.stdin.buffer.read())
    except BrokenPipeError:
        pass
    print(service.makefile().readline())
"""


@pytest.fixture(autouse=True)
def account(tenant: Control, no_failures_yet: None) -> None:  # noqa: ARG001
    tenant.module("mail_account", address=USER.address, password=USER.password, update_password="always")


@pytest.fixture(scope="module", autouse=True)
def client(host: testinfra.host.Host) -> Iterator[None]:
    """A user of the host with access to the service, as webmail will be."""
    host.check_output("useradd --system --groups mailhosting-password e2e-webmail")
    yield
    host.check_output("userdel e2e-webmail")


def say(host: testinfra.host.Host, data: str, user: str = "e2e-webmail") -> Any:
    command = f"printf %s {shlex.quote(data)} | runuser -u {user} -- python3 -c {shlex.quote(CLIENT)}"
    done = host.run(command)
    return json.loads(done.stdout) if done.rc == 0 else done.stderr


def ask(host: testinfra.host.Host, user: str = "e2e-webmail", **request: str) -> Any:
    return say(host, json.dumps(request) + "\n", user)


def test_the_old_password_buys_a_new_one(server: Server, host: testinfra.host.Host) -> None:
    assert ask(host, address=USER.address, old=USER.password, new=NEXT.password) == {"ok": True}
    log_in(server, "pop3s", NEXT)
    assert not may_log_in(server, "pop3s", USER)


def test_whoever_got_in_by_the_old_password_is_out(server: Server, host: testinfra.host.Host, bill: User) -> None:
    with (
        open_sessions(server, USER) as its_sessions,
        submission(server, USER) as sending,
        open_sessions(server, bill) as others,
    ):
        assert not ask(host, address=USER.address, old="wrong", new=NEXT.password)["ok"]
        assert all(its_sessions().values())
        assert ask(host, address=USER.address, old=USER.password, new=NEXT.password) == {"ok": True}
        assert not any(its_sessions().values())
        sending.mail(USER.address)
        assert sending.rcpt(bill.address)[0] == 421
        assert all(others().values())
    log_in(server, "imaps", NEXT)


#: Begins a login whose password takes about a second to verify, changes that password meanwhile, prints the answer.
OVERTAKEN = """
import poplib, ssl, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
address, password = sys.argv[1:]

def sql(query, **variables):
    psql = "runuser -u postgres -- psql --quiet --tuples-only --no-align --dbname=mailhosting".split()
    psql += [f"--variable={name}={value}" for name, value in variables.items()]
    return subprocess.run(psql, input=query, text=True, check=True, stdout=subprocess.PIPE).stdout.strip()

def set_to(hashed):
    sql("UPDATE directory.account SET password = :'hash' WHERE id = (SELECT account_id FROM directory.address"
        " WHERE local_part || '@' || domain = :'address');", hash=hashed, address=address)

def password_was_read(since):
    return sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'dovecot' AND state = 'idle'"
               " AND query ~ '^ *SELECT username AS user, login_since, password'"
               " AND query_start > to_timestamp(:since);", since=since) != "0"

def log_in():
    maildrop = poplib.POP3_SSL("127.0.0.1", context=ssl._create_unverified_context())
    try:
        maildrop.user(address)
        return maildrop.pass_(password).decode()
    except poplib.error_proto as error:
        return str(error)
    finally:
        maildrop.close()

set_to("{BLF-CRYPT}$2b$14$abcdefghijklmnopqrstuuG.fGb6Le39ByRUzOZpMOwbj31fcF6Zq")
print(log_in())
with ThreadPoolExecutor() as others:
    began = time.time()
    answer = others.submit(log_in)
    while not password_was_read(began):
        assert time.time() < began + 20
    set_to("{PLAIN}another")
    print("in time" if not answer.done() else "too late")
    print(answer.result())
"""


@pytest.mark.timing
def test_a_password_that_changes_while_a_login_checks_it_lets_nobody_in(host: testinfra.host.Host) -> None:
    """The change ends all sessions before this login opens one."""
    asked = f"python3 -c {shlex.quote(OVERTAKEN)} {USER.address} tanstaaf"
    before, changed, overtaken = host.check_output(asked).splitlines()
    assert before.startswith("+OK")
    assert changed == "in time"
    # Dovecot hangs up; the answer to a wrong password has [AUTH].
    assert overtaken == "-ERR EOF"


def test_a_dovecot_that_ends_no_session_is_said(host: testinfra.host.Host) -> None:
    host.check_output("systemctl stop mailhosting-end-sessions.socket")
    try:
        answer = ask(host, address=USER.address, old=USER.password, new=NEXT.password)
    finally:
        host.check_output("systemctl start mailhosting-end-sessions.socket")
    assert answer == {
        "ok": True,
        "warning": "the password is set, but sessions that began with the old one may be open",
    }


@pytest.mark.parametrize("old", [{}, {"old": "wrong"}, {"old": ""}])
def test_without_the_old_password_nothing_changes(
    server: Server, host: testinfra.host.Host, old: dict[str, str]
) -> None:
    answer = ask(host, address=USER.address, new=NEXT.password, **old)
    assert answer == {"ok": False, "error": "the address or the old password is wrong"}
    assert answer == ask(host, address="nobody@e2e.example", new=NEXT.password, **old)
    log_in(server, "pop3s", USER)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_imported_hash_is_known_too(server: Server, host: testinfra.host.Host, tenant: Control, scheme: str) -> None:
    hashed = host.check_output(f"doveadm pw -s {scheme} -p '{USER.password}'").strip()
    tenant.module("mail_account", address=USER.address, password_hash=hashed)
    log_in(server, "pop3s", USER)
    assert not ask(host, address=USER.address, old="wrong", new=NEXT.password)["ok"]
    assert ask(host, address=USER.address, old=USER.password, new=NEXT.password)["ok"]
    log_in(server, "pop3s", NEXT)


#: Hashes of "tanstaaf", at the bounds; tests/unit/controller checks our own code with the same.
HASHES = Path(__file__).parents[2] / "password_hashes.txt"
AT_THE_BOUNDS = [
    *(line for line in HASHES.read_text().splitlines() if not line.startswith("#")),
    "{MD5-CRYPT}$1$saltsalt$roN2lUfEbZqZad1NpG.Zy1",
    "{DES-CRYPT}./AAmAFXSzf3g",
]
#: Reads hashes, sets each for an account and prints those that reject the password.
TRY_EACH = """
import json, subprocess, sys
address, password, hashes = json.load(sys.stdin)
query = "UPDATE directory.account SET password = :'hash' WHERE id = (SELECT account_id FROM directory.address" \\
    " WHERE local_part || '@' || domain = :'address');"
for hashed in hashes:
    psql = "runuser -u postgres -- psql --quiet --dbname=mailhosting".split()
    psql += [f"--variable=hash={hashed}", f"--variable=address={address}"]
    subprocess.run(psql, input=query, text=True, check=True)
    login = subprocess.run(["doveadm", "auth", "test", address, password], capture_output=True, check=False)
    if login.returncode:
        print(hashed)
"""


def test_whatever_hash_may_be_brought_along_lets_its_user_in(host: testinfra.host.Host) -> None:
    given = json.dumps([USER.address, "tanstaaf", [password_hash(hashed) for hashed in AT_THE_BOUNDS]])
    refused = host.check_output(f"printf %s {shlex.quote(given)} | python3 -c {shlex.quote(TRY_EACH)}")
    assert refused.splitlines() == []


def test_the_dearest_hash_that_may_be_imported_is_known_too(host: testinfra.host.Host, tenant: Control) -> None:
    """Dovecot must be allowed the memory that such a hash needs."""
    script = "import argon2; print(argon2.PasswordHasher(4, 262144, 1).hash(input()))"
    hashed = host.check_output(f"echo '{USER.password}' | python3 -c {shlex.quote(script)}").strip()
    tenant.module("mail_account", address=USER.address, password_hash="{ARGON2ID}" + hashed)
    assert ask(host, address=USER.address, old=USER.password, new=NEXT.password) == {"ok": True}


def test_whoever_may_not_log_in_may_not_change_it(host: testinfra.host.Host, tenant: Control) -> None:
    tenant.module("mail_account", address=USER.address, state="suspended")
    try:
        answer = ask(host, address=USER.address, old=USER.password, new=NEXT.password)
        assert answer == {"ok": False, "error": "login is disabled for this account"}
    finally:
        tenant.module("mail_account", address=USER.address, state="active")


def test_the_operator_needs_no_old_one(server: Server, host: testinfra.host.Host) -> None:
    command = f"printf '%s\\n' {shlex.quote(NEXT.password)} | mailhosting password {USER.address}"
    assert "the password is set" in host.check_output(command)
    log_in(server, "pop3s", NEXT)
    failed = host.run("echo a-new-password | mailhosting password nobody@e2e.example")
    assert (failed.rc, failed.stderr.strip()) == (1, "there is no such account")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("", "one line"),
        ("no end of line", "one line"),
        ("\n", "not JSON"),
        ("\x01\x02\n", "not JSON"),
        ("[]\n", "give"),
        ("{}\n", "give"),
        ('{"address": "a@e2e.example", "new": 1}\n', "texts"),
        ('{"address": "a@e2e.example", "new": "long enough", "sql": "x"}\n', "give"),
        ('{"address": "a@e2e.example", "new": "short"}\n', "characters"),
        ('{"address": "a@e2e.example", "new": "long enough\\u0000"}\n', "password"),
        ('{"address": "a@e2e.example", "new": "long enough\\ud800"}\n', "UTF-8"),
        ("[" * 4000 + "\n", "not JSON"),
        ("x" * 100_000 + "\n", "4096"),
    ],
)
def test_garbage_is_answered(host: testinfra.host.Host, data: str, error: str) -> None:
    answer = say(host, data)
    assert answer["ok"] is False
    assert error in answer["error"]


def test_nobody_else_gets_to_it(host: testinfra.host.Host) -> None:
    assert "PermissionError" in ask(host, user="nobody", address=USER.address, new=NEXT.password)


def test_its_database_role_sees_no_table_and_no_view(host: testinfra.host.Host) -> None:
    for query in ("SELECT * FROM directory.account", "SELECT * FROM v1.passdb", "SELECT * FROM v1.tenant_settings"):
        asked = host.run(f"runuser -u mailhosting-password -- psql --dbname=mailhosting --command='{query}'")
        assert "permission denied" in asked.stderr
    for user in ("postfix", "dovecot", "vmail"):
        query = "SELECT v1.set_password($$a$$, $$b$$, NULL, NULL, NULL)"
        asked = host.run(f"runuser -u {user} -- psql --dbname=mailhosting --command='{query}'")
        assert "permission denied" in asked.stderr


def test_a_wrong_old_password_is_logged_with_the_address_alone(host: testinfra.host.Host) -> None:
    # systemd numbers the units of connections.
    journal = "journalctl --output=cat --unit='mailhosting-password*' --no-pager"
    cursor = host.check_output("journalctl --lines=0 --show-cursor --no-pager").partition("cursor: ")[2].strip()
    tried = ["nobody@e2e.example", USER.address, "a secret in its place", "two\nlines@e2e.example"]
    for address in tried:
        ask(host, address=address, old="a wrong secret", new=NEXT.password)
    ask(host, address=USER.address, old=USER.password, new=NEXT.password)

    def logged() -> str:
        return str(host.check_output(f"{journal} --after-cursor='{cursor}'"))

    assert until(lambda: logged().count("wrong old password") == len(tried))
    warned = host.check_output(f"{journal} --after-cursor='{cursor}' --priority=warning").splitlines()
    named = [*tried[:2], *["what is no address"] * 2]
    assert [line for line in warned if "old" in line] == [f"wrong old password for {name}" for name in named]
    for secret in ("a wrong secret", tried[2], "lines@", USER.password, NEXT.password):
        assert secret not in logged()


def test_the_next_run_of_files_leaves_a_user_s_own_password_alone(
    server: Server, host: testinfra.host.Host, control: Control, hanako: User
) -> None:
    """The demo's files have a plain password for hanako, which only a new account gets."""
    own = User(hanako.address, "what hanako herself chose")
    try:
        assert ask(host, address=own.address, old=hanako.password, new=own.password)["ok"]
        control.playbook("tenants")
        log_in(server, "pop3s", own)
        assert not may_log_in(server, "pop3s", hanako)
    finally:
        command = f"printf '%s\\n' {shlex.quote(hanako.password)} | mailhosting password {hanako.address}"
        host.check_output(command)
