# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The question in a request, and when a login allows relaying."""

from __future__ import annotations

import pytest
from mailhosting.common import keys
from mailhosting.common.address import Address
from mailhosting.policy import decision
from mailhosting.policy.decision import Login, Membership, Relaying, Right


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("2001:db8::7%eth0", None),
        ("192.0.2", None),
        ("unknown", None),
        ("a\0b", None),
        ("", None),
    ],
)
def test_a_client_has_one_form(text: str, expected: str | None) -> None:
    assert decision.client_address(text) == expected


def test_relaying_is_asked_for_client_and_sender() -> None:
    request = {"client_address": "192.0.2.7", "sender": "taro@acme.example", "recipient": "x@outside.example"}
    assert decision.relaying(request) == Relaying("192.0.2.7", Address("taro", "acme.example"))


@pytest.mark.parametrize("missing", [{"sender": ""}, {"client_address": ""}, {"client_address": "unknown"}])
def test_the_null_sender_and_no_client_open_nothing(missing: dict[str, str]) -> None:
    assert decision.relaying({"client_address": "192.0.2.7", "sender": "taro@acme.example"} | missing) is None
    assert decision.relaying({}) is None


def test_membership_is_asked_for_login_and_domain() -> None:
    request = {"recipient": "All@Acme.Example"}
    assert decision.membership("taro@acme.example", request) == Membership(
        Address("taro", "acme.example"), "acme.example"
    )


@pytest.mark.parametrize("login", ["", "taro", "@acme.example"])
def test_who_is_not_logged_in_is_no_member(login: str) -> None:
    assert decision.membership(login, {"recipient": "all@acme.example"}) is None


def test_keys_of_two_logins_are_never_one() -> None:
    assert keys.login("2001:db8::1", "a:b@x") != keys.login("2001:db8::1:a", "b@x")


LONG_AGO = float("-inf")


@pytest.mark.parametrize(("age", "open_for"), [(0, True), (1799, True), (1800, False), (99_999, False)])
def test_a_login_opens_for_its_plans_seconds(age: int, open_for: bool) -> None:
    login = Login("taro@acme.example", 1_000_000 - age)
    opened = decision.who_opened({login.username: Right(1800, LONG_AGO)}, {login.username: login}, 1_000_000)
    assert opened == ((login.username, login) if open_for else None)


@pytest.mark.parametrize(("since", "open_for"), [(999_939.75, True), (999_940, True), (999_940.25, False)])
def test_a_login_opens_nothing_once_its_right_has_ended(since: float, open_for: bool) -> None:
    """It ended by a new password, or because another account got the name."""
    login = Login("taro@acme.example", 999_940)
    opened = decision.who_opened({login.username: Right(1800, since)}, {login.username: login}, 1_000_000)
    assert opened == ((login.username, login) if open_for else None)


def test_each_login_has_its_own_plan() -> None:
    rights = {"taro@acme.example": Right(60, LONG_AGO), "ken@acme.example": Right(1800, LONG_AGO)}
    seen = {name: Login(name, 1_000_000 - 100) for name in rights}
    assert decision.who_opened(rights, seen, 1_000_000) == ("ken@acme.example", seen["ken@acme.example"])
    assert decision.who_opened({}, seen, 1_000_000) is None
    assert decision.who_opened(rights, {}, 1_000_000) is None


def test_values_of_valkey_are_times_or_an_error() -> None:
    assert decision.last_logins(["a@x", "b@x"], [b"17", None]) == {"a@x": Login("a@x", 17)}
    assert decision.last_logins(["@x"], [b"17 a@x"]) == {"@x": Login("a@x", 17)}
    for values in ([b"x", None], [b"17"]):
        with pytest.raises(ValueError, match=r"could not convert|shorter"):
            decision.last_logins(["a@x", "b@x"], values)


def test_who_opened_for_a_domain_is_the_one_who_logged_in() -> None:
    seen = {"@acme.example": Login("ken@acme.example", 1_000_000)}
    opened = decision.who_opened({"@acme.example": Right(60, LONG_AGO)}, seen, 1_000_000)
    assert opened == ("@acme.example", Login("ken@acme.example", 1_000_000))


def test_a_domains_last_login_is_the_latest() -> None:
    times = {"mh:1:login:::1/ken@a.example": 18, "mh:1:login:::1/taro@a.example": 17, "mh:1:login:::2/x@b.example": 1}
    assert decision.logins_of_domains(times) == {
        "mh:1:login:::1/@a.example": "18 ken@a.example",
        "mh:1:login:::2/@b.example": "1 x@b.example",
    }
