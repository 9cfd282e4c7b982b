# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fail2ban's filters on lines that Dovecot 2.4.1 wrote, and the effects of its actions."""

from __future__ import annotations

import configparser
import hashlib
import importlib.util
import logging
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[3] / "roles/fail2ban/templates/fail2ban"
#: fail2ban's tags that the filters use.
TAGS = {
    "<F-ID>": "(?P<fid>", "</F-ID>": ")",
    "<ADDR>": r"(?:(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9a-f]{1,4}::?|:){1,7}(?:[0-9a-f]{1,4}|(?<=:):))",
    "<SUBNET>": r"(?P<fid>[0-9a-f.:]+(?:/\d+)?)",
}  # fmt: skip
WORKER = "mx1 dovecot[7170]: auth-worker({})<7183><FVeSZ9NgwN0KWAAB>: request [5]: directory: Password mismatch"
DISALLOWED = (
    "mx1 dovecot[7239]: auth(?,10.88.0.1,sasl:plain): plain: Username character disallowed by auth_username_chars: "
)


def expressions(name: str) -> list[re.Pattern[str]]:
    """The filter's failregex, compiled."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(FOLDER / f"filter.d/{name}.conf")
    before = config.get("INCLUDES", "before", fallback=None)
    merged = configparser.ConfigParser()
    merged.read([FOLDER / f"filter.d/{file}" for file in (before, f"{name}.conf") if file])
    text = merged.get("Definition", "failregex")
    for tag, meaning in TAGS.items():
        text = text.replace(tag, meaning)
    return [re.compile(line) for line in text.splitlines()]


def found(name: str, line: str) -> str | None:
    """The address or login that the filter would ban for a line of the journal."""
    for expression in expressions(name):
        match = expression.search(line)
        if match:
            return match["fid"]
    return None


@pytest.mark.parametrize(
    "line",
    [
        WORKER.format("taro@acme.example,10.88.0.1"),
        # SMTP has no session.
        "mx1 dovecot[7170]: auth-worker(taro@acme.example,10.88.0.1)<7183>: request [7]: directory: Password mismatch",
        "mx1 dovecot[7170]: auth-worker(taro@acme.example,10.88.0.1)<7183>: request [10]: directory: unknown user",
        # After a restart of the directory.
        WORKER.format("taro@acme.example,10.88.0.1").replace("directory", "directory_again"),
    ],
)
@pytest.mark.parametrize("name", ["mailhosting-login", "mailhosting-tried"])
def test_a_refused_login_is_found(name: str, line: str) -> None:
    assert found(name, line) == "taro@acme.example,10.88.0.1"


@pytest.mark.parametrize("name", ["mailhosting-login", "mailhosting-tried"])
def test_a_guessed_secret_is_found(name: str) -> None:
    line = WORKER.format("taro@acme.example,10.88.0.1").replace("directory", "legacy_bc79365d")
    assert found(name, line) == "taro@acme.example,10.88.0.1"


@pytest.mark.parametrize(
    "line",
    [
        "mx1 dovecot[26593]: auth({},sasl:cram-md5)<szzdfdxgEuoKWAAB>: cram-md5: Password mismatch",
        "mx1 dovecot[27018]: auth({},sasl:cram-md5): cram-md5: Password mismatch",
    ],
)
@pytest.mark.parametrize("name", ["mailhosting-login", "mailhosting-tried"])
def test_a_secret_guessed_by_cram_md5_is_found(name: str, line: str) -> None:
    """A worker looks no password up for it, so no worker logs it."""
    for address, client in (("10.88.0.1", "10.88.0.1"), ("2001:db8:1:2::5", "2001:db8:1:2")):
        assert found(name, line.format(f"taro@acme.example,{address}")) == f"taro@acme.example,{client}"


@pytest.mark.parametrize("name", ["mailhosting-login", "mailhosting-tried"])
def test_a_program_that_tries_cram_md5_first_is_not_found(name: str) -> None:
    """An account without a secret: its passdb gives the login this name."""
    line = "mx1 dovecot[31]: auth(?taro@acme.example,10.88.0.1,sasl:cram-md5)<57Y4r9xg>: cram-md5: Password mismatch"
    assert found(name, line) is None


APOP = (
    "mx1 dovecot[9767]: pop3-login: Login aborted: {} (auth failed, 2 attempts in 4 secs) (auth_failed): user=<{}>, "
    "method=APOP, rip=10.88.0.1, lip=10.88.1.128, {}session=<hTXsI91gwsoKWAAB>, login=<{},{}>"
)


@pytest.mark.parametrize("ended", ["Logged out", "Connection closed", "Inactivity during authentication"])
@pytest.mark.parametrize("secured", ["", "TLS, ", "TLS: Connection closed, "])
@pytest.mark.parametrize("name", ["mailhosting-login", "mailhosting-tried"])
def test_a_secret_guessed_by_apop_is_found(name: str, ended: str, secured: str) -> None:
    login = "taro@acme.example"
    for address, client in (("10.88.0.1", "10.88.0.1"), ("2001:db8:1:2::5", "2001:db8:1:2")):
        assert found(name, APOP.format(ended, login, secured, login, address)) == f"{login},{client}"


@pytest.mark.parametrize("login", ["?taro@acme.example", "a,login=<taro@acme.example,9.9.9.9>", "a b", "", "x>"])
@pytest.mark.parametrize("name", ["mailhosting-login", "mailhosting-tried"])
def test_what_no_secret_can_be_guessed_of_by_apop_is_not_found(name: str, login: str) -> None:
    assert found(name, APOP.format("Logged out", login, "", login, "10.88.0.1")) is None


@pytest.mark.parametrize("login", ["taro", "12:30@acme.example", "taro%acme.example", "x" * 61 + "..."])
def test_what_can_be_a_login_is_found(login: str) -> None:
    assert found("mailhosting-login", WORKER.format(f"{login},10.88.0.1")) == f"{login},10.88.0.1"


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.88.0.15", "10.88.0.15"),
        ("2001:db8:1:2:a:b:c:d", "2001:db8:1:2"),
        ("2001:db8:1:2::5", "2001:db8:1:2"),
        ("2001:db8:1::5", "2001:db8:1"),
        ("2001:db8:1::b:c:d", "2001:db8:1"),
        ("2001:db8::", "2001:db8"),
        ("2001:db8::a:b:c:d", "2001:db8"),
        ("2001::d:a:b:c:d", "2001::d:a:b:c:d"),
        ("::1", "::1"),
    ],
)
@pytest.mark.parametrize("name", ["mailhosting-login", "mailhosting-tried"])
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(name: str, address: str, client: str) -> None:
    line = WORKER.format(f"taro@acme.example,{address}")
    assert found(name, line) == f"taro@acme.example,{client}"


@pytest.mark.parametrize(
    "line",
    [
        # The right password, rejected for another reason; and a line without a password.
        "mx1 dovecot[1]: auth(beth@bolt.example,10.88.0.1,sasl:plain): refusal: allow_nets check failed: not allowed",
        "mx1 dovecot[7170]: imap-login: Login aborted: user=<a,9.9.9.9)<1>: request [1]: directory: Password mismatch",
        "mx1 postfix/smtpd[7192]: warning: h[10.88.0.1]: sasl_username=a,9.9.9.9)<1>: request [1]: directory: unknown user",  # noqa: E501
        # Our words, but in another place of the line.
        "mx1 logger[7]: mx1 dovecot[1]: auth-worker(taro@acme.example,9.9.9.9)<1>: request [1]: directory: unknown user",  # noqa: E501
        # APOP and CRAM-MD5 of an account without a secret, and of one whose secret has another key.
        WORKER.format("taro@acme.example,10.88.0.1").replace("directory", "no_secret"),
        WORKER.format("taro@acme.example,10.88.0.1").replace("directory: Password mismatch", "legacy_0f: unknown user"),
        WORKER.format("a)<1>: request [1]: directory: unknown user,9.9.9.9"),
        WORKER.format("taro@acme.example,9.9.9.9,10.88.0.1"),
        WORKER.format("$(reboot)@acme.example,10.88.0.1"),
        WORKER.format("taro@acme.example\\n,10.88.0.1"),
    ],
)
def test_nothing_else_pauses_a_login(line: str) -> None:
    assert found("mailhosting-login", line) is None


@pytest.mark.parametrize(
    "text", ["0x2c (username: a,9.9.9.9)<1>: request [1]: directory: Password mismatch)", "0x0a (username: a?b)"]
)
def test_logins_that_cannot_be_are_one_to_their_client(text: str) -> None:
    assert found("mailhosting-tried", DISALLOWED + text) == "?,10.88.0.1"
    assert found("mailhosting-login", DISALLOWED + text) is None


def test_clients_are_counted_by_what_fail2ban_says() -> None:
    name = "mailhosting-address"
    assert found(name, "mx1 fail2ban[8847]: [mail-tried] Client 2001:db8:1:2::/64") == "2001:db8:1:2::/64"
    assert found(name, "mx1 fail2ban[8847]: [mail-tried] Client 10.88.0.1") == "10.88.0.1"
    assert found(name, "mx1 fail2ban[8847]: [mail-tried] Ban [mail-tried] Client 9.9.9.9,10.88.0.1") is None
    assert found(name, "mx1 dovecot[1]: fail2ban[8847]: [mail-tried] Client 9.9.9.9") is None


class ActionBase:
    """The interface of fail2ban's class of that name, for the actions."""

    def __init__(self, jail: object, name: str) -> None:
        self._jail, self._name = jail, name
        self._logSys = SimpleNamespace(notice=logging.getLogger(name).warning)


def action(monkeypatch: pytest.MonkeyPatch, name: str, **options: str) -> Any:
    """The action `name`, as fail2ban loads it."""
    stub = ModuleType("fail2ban.server.action")
    stub.ActionBase = ActionBase  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fail2ban.server.action", stub)
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"action.d/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Action(None, name, **options)


def lines(*texts: str) -> str:
    return "".join(sorted(f"{hashlib.sha256(text.encode()).hexdigest()}:\n" for text in texts))


def test_the_list_holds_what_is_banned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "denied-logins"
    denied = action(monkeypatch, "mailhosting_denied_logins", path=str(path))
    seen = []
    denied.start()
    for step, login in ((denied.ban, "a@x.test"), (denied.unban, "a@x.test"), (denied.ban, "b%x.test")):
        step({"fid": f"{login},10.88.0.1"})
        seen.append((int(path.stat().st_mtime), path.stat().st_size))
    assert path.read_text() == lines("10.88.0.1 b@x.test")
    assert path.stat().st_mode & 0o777 == 0o644
    # Dovecot reloads a list when its size or time changes.
    assert len(set(seen)) == len(seen)
    denied.stop()
    assert path.read_text() == ""


def test_an_ipv6_network_is_listed_in_each_spelling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "denied-logins"
    denied = action(monkeypatch, "mailhosting_denied_logins", path=str(path))
    denied.ban({"fid": "a,2001:db8:1"})
    denied.ban({"fid": "a,2001:db8:1:0"})
    assert path.read_text() == lines("2001:db8:1 a", "2001:db8:1:0 a")
    denied.unban({"fid": "a,2001:db8:1"})
    denied.ban({"fid": "b,2001::d:a:b:c:d"})
    assert path.read_text() == lines("2001:db8:1 a", "2001:db8:1:0 a", "2001::d:a:b:c:d b")


def test_some_are_never_listed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "denied-logins"
    never = "192.0.2.0/24 2001:db8::/32"
    denied = action(monkeypatch, "mailhosting_denied_logins", path=str(path), never=never)
    tried = action(monkeypatch, "mailhosting_tried", never=never)
    denied.start()
    for client in ("192.0.2.9", "2001:db8:1:2", "198.51.100.7", "2001:db9:1"):
        denied.ban({"fid": f"a,{client}"})
        tried.ban({"fid": f"a,{client}"})
    assert path.read_text() == lines("198.51.100.7 a", "2001:db9:1 a", "2001:db9:1:0 a")
    assert [record.getMessage() for record in caplog.records] == [
        "[mail-tried] Client 198.51.100.7/32", "[mail-tried] Client 2001:db9:1::/64",
    ]  # fmt: skip
