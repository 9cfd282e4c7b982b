# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of the language: accepted ones, their normal forms, and the messages for all others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import former_names, plan_syntax, syntax
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import (
    BULK_MAIL_COUNTS,
    DIRECTIONS,
    PLAN_DEFAULTS,
    PROTOCOLS,
    RETENTION,
    VIRUS_ACTIONS,
    VIRUS_DEFAULTS,
    VIRUS_NOTIFIED,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

PERCENTS = "whole numbers from 1 to 100, such as [90, 100]"
NOT_A_SIZE = "is not a size: bytes from 1, or a number with K, M or G (powers of 1024), such as 50M"
LOCAL_PART = "1 to 64 of a-z 0-9 . _ : -, with no hyphen first and dots and colons only between others"


def refusal(check: Callable[..., object], *values: object) -> str:
    """The message of `check` for a value that it must reject."""
    try:
        check(*values)
    except ValueError as error:
        return str(error)
    pytest.fail(f"{values} was taken")


@pytest.mark.parametrize("text", ["taro", "no", "001", "12:30", "a.b-c_d", "_x", "x-", "a" * 64, "null"])
def test_local_part_is_kept_as_written(text: str) -> None:
    assert syntax.local_part(text) == text


def test_local_part_folds_case() -> None:
    assert syntax.local_part("Taro.Yamada") == "taro.yamada"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", '""'),
        ("a" * 300, f'"{"a" * 40}… (300 characters)"'),
        ("../../etc/passwd", '"../../etc/passwd"'),
        ("a'; drop table--", '"a\'; drop table--"'),
        ("a..b", '"a..b"'),
        (".a", '".a"'),
        ("a.", '"a."'),
        ("a:", '"a:"'),
        (":a", '":a"'),
        ("a.:b", '"a.:b"'),
        ("-a", '"-a"'),
        ("a+b", '"a+b"'),
        ("a b", '"a b"'),
        ("a\nb", '"a\\nb"'),
        ("タロー", '"タロー"'),
        ("\u212aen", '"\u212aen"'),  # the Kelvin sign, whose lower case is an ASCII k
        ("a\u202eb", '"a\\u202eb"'),
    ],
)
def test_local_part_refuses(text: str, shown: str) -> None:
    assert refusal(syntax.local_part, text) == f"{shown} is not a local part: {LOCAL_PART}"


@settings(deadline=None)  # the machine may be busy
@given(st.text())
@example("12:30")
@example("a\n")
def test_local_part_needs_no_quotes_anywhere(text: str) -> None:
    try:
        result = syntax.local_part(text)
    except ValueError:
        return
    assert re.fullmatch(r"[a-z0-9._:-]{1,64}", result)
    assert result == text.lower()
    assert syntax.local_part(result) == result


@settings(deadline=None)  # the machine may be busy
@given(st.text() | st.emails())
def test_addresses_are_what_they_stay(text: str) -> None:
    for check in (syntax.address, syntax.target):
        try:
            result = check(text)
        except ValueError:
            assert refusal(check, text).isprintable()
        else:
            assert re.fullmatch(r"[!-~]+@[a-z0-9.-]+", result)
            assert not re.search(r"[\s\"\\,;<>()|`!%]", result)
            assert check(result) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Acme.Example", "acme.example"),
        ("a-b.co.jp", "a-b.co.jp"),
        ("日本語.example", "xn--wgv71a119e.example"),
        ("XN--WGV71A119E.example", "xn--wgv71a119e.example"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_domain_becomes_a_labels(text: str, result: str) -> None:
    assert syntax.domain(text) == result


@pytest.mark.parametrize(
    "text",
    ["", "acme", "acme.example.", ".example", "a..example", "-a.example", "a_b.example", "192.0.2.1", "a b.example",
     "*.example", "xn--a.example", f"{'a' * 64}.example", f"{'a.' * 124}example", "../x.example", "a.example\n",
     "mailbox.invalid", "acme.example.Mailbox.Invalid"],
)  # fmt: skip
def test_domain_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a domain"):
        syntax.domain(text)


def test_domain_without_idna_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syntax, "idna", None)
    assert syntax.domain("XN--WGV71A119E.example") == "xn--wgv71a119e.example"
    with pytest.raises(ValueError, match="write it with xn-- labels, or install the Python package idna"):
        syntax.domain("日本語.example")


def test_target_may_be_anybodys_address() -> None:
    assert syntax.target("O'Brien+lists@Elsewhere.Example") == "o'brien+lists@elsewhere.example"
    assert syntax.target("12:30@acme.example") == "12:30@acme.example"


@pytest.mark.parametrize("local_part", ["a..b", "ab.", ".ab", "a.-..b.", "ab", "...", "o'brien+x..y"])
def test_dots_stand_anywhere_where_a_carrier_let_them(local_part: str) -> None:
    wanted = f"{local_part}@docomo.ne.jp"
    assert syntax.target(wanted.upper()) == wanted
    assert syntax.target(f'"{local_part}"@DoCoMo.ne.jp') == wanted
    assert syntax.target(f"{local_part}@carrier.example", syntax.lenient_domains(["Carrier.example"])).startswith(
        local_part
    )


def test_a_carrier_may_be_written_by_either_spelling() -> None:
    lenient = syntax.lenient_domains(["携帯.example"])
    stored = f"a..b@{syntax.domain('携帯.example')}"
    assert [syntax.target(text, lenient) for text in ("a..b@携帯.example", '"a..b"@携帯。example', stored)] == [
        stored
    ] * 3


@pytest.mark.parametrize("text", ["a..b@acme.example", "ab.@sub.docomo.ne.jp", '"a..b"@acme.example'])
def test_nobody_else_has_such_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a local part"):
        syntax.target(text)
    with pytest.raises(ValueError, match="is not a local part"):
        syntax.address("a..b@docomo.ne.jp")


@pytest.mark.parametrize("text", ["-f@docomo.ne.jp", "a b..@docomo.ne.jp", 'a"..b@docomo.ne.jp', '""@docomo.ne.jp'])
def test_a_lenient_domain_s_addresses_are_no_commands(text: str) -> None:
    assert "is not a local part: 1 to 64 of a-z" in refusal(syntax.target, text)


@pytest.mark.parametrize(
    "text", ["a%b@acme.example", "b!a@acme.example", "|cat@acme.example", "-f@acme.example", "a@b@c.example"]
)
def test_target_refuses_routes_and_commands(text: str) -> None:
    with pytest.raises(ValueError, match="is not a local part"):
        syntax.target(text)


@pytest.mark.parametrize("text", ["ken@", "@acme.example", "ken", ""])
def test_address_needs_two_parts(text: str) -> None:
    assert refusal(syntax.address, text) == f'"{text}" is not an address: local part, @, domain'


def test_address_has_the_length_of_a_path() -> None:
    domain = ".".join(["d" * 63] * 3)
    assert syntax.address(f"{'a' * 62}@{domain}")
    with pytest.raises(ValueError, match="longer than 254 characters"):
        syntax.address(f"{'a' * 63}@{domain}")


@pytest.mark.parametrize(
    ("value", "result"), [("50M", 52428800), ("1K", 1024), ("2G", 2147483648), (1048576, 1048576), ("1048576", 1048576)]
)
def test_size(value: object, result: int) -> None:
    assert syntax.size(value) == result


@pytest.mark.parametrize("value", ["50 Megs", "50m", "0", 0, -1, "", "1.5G", "9" * 15 + "G", True, None, [], 1.5])
def test_size_refuses(value: object) -> None:
    assert refusal(syntax.size, value).endswith(NOT_A_SIZE)


@pytest.mark.parametrize(("text", "result"), [("30d", 2592000), ("0s", 0), ("90m", 5400), ("2h", 7200), ("1w", 604800)])
def test_duration(text: str, result: int) -> None:
    assert syntax.duration(text) == result


@pytest.mark.parametrize("value", ["30", "30 days", "d", "", "-1d", 30, None])
def test_duration_refuses(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        syntax.duration(value)


def test_every_plan_key_has_a_rule_that_takes_its_default() -> None:
    written = {**PLAN_DEFAULTS, "renamed_alias": "30d", "renamed_domain": "90d"}  # a bare number is no duration
    assert plan_syntax.plan_settings(written) == PLAN_DEFAULTS


@pytest.mark.parametrize(
    ("key", "value", "result"),
    [
        ("mailbox_quota", "20M", 20971520),
        ("max_accounts", "50", 50),
        ("max_account_quota", "plan", "plan"),
        ("max_account_quota", "5G", 5 << 30),
        ("retention", {"received": "1d", "read": "1d"}, {"read": 86400, "received": 86400}),
        ("max_forward_targets", 0, 0),
        ("max_messages", 100000, 100000),
        ("max_folders", "50", 50),
        ("max_filters", None, None),
        ("max_filters_size", "64K", 65536),
        ("protocols", ["submission", "pop3", "pop3"], ["pop3", "submission"]),
        ("protocols", [], []),
        ("cleartext_auth", True, True),
        ("pop_before_smtp", "30m", 1800),
        ("pop_before_smtp", {"for": "30m"}, 1800),
        ("pop_before_smtp", {"for": "30m", "senders": "login"}, 1800),
        ("pop_before_smtp", {"for": "30m", "senders": "tenant"}, {"for": 1800, "senders": "tenant"}),
        ("pop_before_smtp", {"for": "0s", "senders": "tenant"}, 0),
        ("max_message_size", "20M", 20971520),
        ("max_message_size", None, None),
        ("tenant_quota", None, None),
        ("send_limits", None, []),
        (
            "send_limits",
            [{"messages": 1000, "per": "1h", "pause": "2h"}, {"recipients": 0, "per": "1d"}],
            [
                {"messages": 1000, "per": 3600, "pause": 7200, "pause_applies_to": ["send", "receive"]},
                {"recipients": 0, "per": 86400, "pause": None, "pause_applies_to": ["send"]},
            ],
        ),
        (
            "receive_limits",
            [{"messages": 5, "per": "1h", "pause": False}, {"messages": 5, "per": "1h", "pause": "1m"}],
            [
                {"messages": 5, "per": 3600, "pause": None, "pause_applies_to": ["receive"]},
                {"messages": 5, "per": 3600, "pause": 60, "pause_applies_to": ["send", "receive"]},
            ],
        ),
        (
            "receive_limits",
            [{"messages": 5, "per": "1m", "pause": "1m", "pause_applies_to": "receive"}],
            [{"messages": 5, "per": 60, "pause": 60, "pause_applies_to": ["receive"]}],
        ),
        ("account_send_limits", [{"messages": 9, "per": "1h"}], [{"messages": 9, "per": 3600, "pause": None}]),
        ("bulk_mail", False, None),
        (
            "bulk_mail",
            {"recipients_per_content": 5000},
            {
                "recipients_per_content": 5000,
                "recipients_per_content_received": 5000,
                "invalid_recipients": None,
                "per": 86400,
                "action": "hold",
            },
        ),
        (
            "bulk_mail",
            {
                "recipients_per_content": 5000,
                "recipients_per_content_received": None,
                "invalid_recipients": 100,
                "action": "refuse",
            },
            {
                "recipients_per_content": 5000,
                "recipients_per_content_received": None,
                "invalid_recipients": 100,
                "per": 86400,
                "action": "refuse",
            },
        ),
        ("virus", False, None),
        ("virus", {}, VIRUS_DEFAULTS),
        (
            "virus",
            {
                "inbound": {"attachment": "delete"},
                "outbound": {"body": "delete", "notify": ["recipient_same_domain", "sender", "sender"]},
                "encrypted": "mark",
                "reject_files": ["macros", "executable"],
                "max_unpacked_size": "60M",
                "max_content_size": "50M",
                "keep": 0,
            },
            {
                **VIRUS_DEFAULTS,
                "inbound": {"attachment": "delete", "body": "delete", "notify": ["recipient"]},
                "outbound": {"attachment": "reject", "body": "delete", "notify": ["recipient_same_domain", "sender"]},
                "encrypted": "mark",
                "reject_files": ["executable", "macros"],
                "max_unpacked_size": 60 << 20,
                "max_content_size": 50 << 20,
                "keep": 0,
            },
        ),
        (
            "virus",
            {"keep": "1d", "inbound": {"notify": None}},
            {
                **VIRUS_DEFAULTS,
                "inbound": {"attachment": "strip", "body": "strip", "notify": []},
                "keep": 86400,
            },
        ),
        ("quota_warnings", [100, "80", 80, 1], [1, 80, 100]),
        ("quota_warnings", [], []),
        ("quota_warnings", False, []),
        ("quota_warnings", None, []),
    ],
)
def test_plan_setting(key: str, value: object, result: Any) -> None:
    assert plan_syntax.plan_setting(key, value) == result


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mailbox_quota", "50 Megs", f'"50 Megs" {NOT_A_SIZE}; null for no limit'),
        ("max_message_size", 0, f"0 {NOT_A_SIZE}; null for no limit"),
        ("tenant_quota", "0M", f'"0M" {NOT_A_SIZE}; null for no limit'),
        ("send_limits", [{"messages": None, "per": "1h"}], "null is not a number: 0 or more, whole"),
        ("receive_limits", [{"recipients": -1, "per": "1h"}], "-1 is not a number: 0 or more, whole"),
        (
            "max_account_quota",
            "plans",
            f'"plans" {NOT_A_SIZE}; null for no limit; plan for no more than its mailbox_quota',
        ),
        ("max_accounts", -1, "-1 is not a number: 0 or more, whole; null for no limit"),
        ("max_accounts", "9" * 10, '"9999999999" is not a number: 0 or more, whole; null for no limit'),
        ("max_forward_targets", 1.5, "1.5 is not a number: 0 or more, whole; null for no limit"),
        ("max_folders", 0, "0 is too few: 1 or more, whole; null for the host's setting"),
        ("max_messages", "many", '"many" is not a number: 0 or more, whole; null for the host\'s setting'),
        ("protocols", "pop3", f'"pop3" is not a list of {", ".join(PROTOCOLS)}'),
        ("protocols", None, f"null is not a list of {', '.join(PROTOCOLS)}"),
        ("protocols", ["pop"], f'"pop" is none of {", ".join(PROTOCOLS)}'),
        ("cleartext_auth", "yes", '"yes" is neither true nor false'),
        ("send_limits", {"messages": 1}, "a mapping is not a list of limits, such as [{messages: 1000, per: 1h}]"),
        ("pop_before_smtp", {"senders": "tenant"}, "for: how long a login opens relaying is missing, such as 30m"),
        ("pop_before_smtp", {"for": "30m", "senders": "any"}, '"any" is none of login, tenant'),
        ("pop_before_smtp", {"for": "30m", "sender": "tenant"}, "sender: unknown key; known here: for, senders"),
        ("send_limits", [5], "5 is not a mapping of messages, recipients, per, pause, pause_applies_to"),
        (
            "send_limits",
            [{"messages": 5, "recipients": 5, "per": "1h"}],
            "a limit has one of messages, recipients, and per; a mapping has messages, recipients, per",
        ),
        (
            "send_limits",
            [{"messages": 5}],
            "a limit has one of messages, recipients, and per; a mapping has messages",
        ),
        ("send_limits", [{"messages": 5, "per": "0s"}], 'per: "0s" is not from 1s to 31d'),
        ("send_limits", [{"messages": 5, "per": "1h", "pause": "3h"}], 'pause: "3h" is not from 1s to 2h'),
        (
            "send_limits",
            [{"messages": 5, "per": "1h", "pause_applies_to": ["send"]}],
            "pause_applies_to: there is no pause; say for how long, such as pause: 2h",
        ),
        (
            "account_send_limits",
            [{"messages": 5, "per": "1h", "pause": "1h", "pause_applies_to": "send"}],
            "pause_applies_to: unknown key; known here: messages, recipients, per, pause",
        ),
        (
            "bulk_mail",
            {},
            "there is nothing to count: recipients_per_content, recipients_per_content_received, invalid_recipients",
        ),
        (
            "bulk_mail",
            {"invalid_recipients": 0},
            "invalid_recipients: 0 would stop all mail: 1 or more, whole; null for no limit",
        ),
        ("bulk_mail", {"recipients_per_content": 5, "action": "drop"}, '"drop" is none of hold, refuse'),
        ("virus", True, f"true is not a mapping of {', '.join(VIRUS_DEFAULTS)}"),
        ("virus", {"notify": ["sender"]}, f"notify: unknown key; known here: {', '.join(VIRUS_DEFAULTS)}"),
        ("virus", {"inbound": "strip"}, 'inbound: "strip" is not a mapping of attachment, body, notify'),
        ("virus", {"inbound": {"attachment": "clean"}}, f'inbound: "clean" is none of {", ".join(VIRUS_ACTIONS)}'),
        (
            "virus",
            {"outbound": {"notify": "sender"}},
            f'outbound: "sender" is not a list of {", ".join(VIRUS_NOTIFIED)}',
        ),
        ("virus", {"outbound": {"notify": ["user"]}}, f'outbound: "user" is none of {", ".join(VIRUS_NOTIFIED)}'),
        ("virus", {"encrypted": "virus"}, 'encrypted: "virus" is none of pass, mark, reject'),
        ("virus", {"partial": "mark"}, 'partial: "mark" is none of reject, pass'),
        ("virus", {"reject_files": ["exe"]}, 'reject_files: "exe" is none of executable, macros'),
        (
            "virus",
            {"inbound": {"body": "quarantine"}, "keep": False},
            "inbound: quarantine keeps the mail for keep, which is 0; or say delete",
        ),
        ("virus", {"max_unpacked_size": None}, f"max_unpacked_size: null {NOT_A_SIZE}"),
        *(
            ("quota_warnings", value, f"{said} is not a list of percents: {PERCENTS}")
            for value, said in [([0], "a list"), ([101], "a list"), ([90.5], "a list"), (90, "90"), ("90", '"90"')]
        ),
        ("quota", 1, f"unknown key; known here: {', '.join(PLAN_DEFAULTS)}"),
    ],
)
def test_plan_setting_refuses(key: str, value: object, message: str) -> None:
    assert refusal(plan_syntax.plan_setting, key, value) == message


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("quota_notice", [90], "is called quota_warnings since 0.2.0"),
        ("max_forwards", 5, "is called max_forward_targets since 0.2.0"),
        ("max_quota", "5G", "is called max_account_quota since 0.2.0"),
        (
            "max_quota",
            "mailbox_quota",
            "is called max_account_quota since 0.2.0; mailbox_quota: is called plan since 0.2.0",
        ),
        ("max_account_quota", "mailbox_quota", "mailbox_quota: is called plan since 0.2.0"),
        ("mass_mail", None, "is called bulk_mail since 0.2.0"),
        (
            "mass_mail",
            {"same_content": 5, "per": "1d"},
            "is called bulk_mail since 0.2.0; same_content: is called recipients_per_content since 0.2.0",
        ),
        (
            "bulk_mail",
            {"same_content_received": 5, "unknown_recipients": 5},
            (
                "same_content_received: is called recipients_per_content_received since 0.2.0; "
                "unknown_recipients: is called invalid_recipients since 0.2.0"
            ),
        ),
        ("retention", {"read": "14d", "any": "30d"}, "any: is called received since 0.2.0"),
        *(
            (
                f"{direction}_limits",
                [{"messages": 5, "per": "1h", "pause": "1h", "stops": direction}],
                "stops: is called pause_applies_to since 0.2.0",
            )
            for direction in DIRECTIONS
        ),
        # Not a former name: no release had it.
        (
            "account_send_limits",
            [{"messages": 5, "per": "1h", "stops": "send"}],
            "stops: unknown key; known here: messages, recipients, per, pause",
        ),
    ],
)
def test_a_former_name_is_answered_by_the_present_one(key: str, value: object, message: str) -> None:
    assert refusal(plan_syntax.plan_setting, key, value) == message


def test_no_present_name_is_taken_for_a_former_one() -> None:
    former = former_names.FORMER_NAMES
    assert former[former_names.PLAN].keys().isdisjoint(PLAN_DEFAULTS)
    assert {present.name for present in former[former_names.PLAN].values()} <= PLAN_DEFAULTS.keys()
    assert former["bulk_mail"].keys().isdisjoint(BULK_MAIL_COUNTS)
    assert {present.name for present in former["bulk_mail"].values()} == set(BULK_MAIL_COUNTS)
    assert former["retention"].keys().isdisjoint(RETENTION)


def test_plan_settings_name_the_key() -> None:
    with pytest.raises(ValueError, match=r'^max_accounts: "x" is not a number'):
        plan_syntax.plan_settings({"mailbox_quota": None, "max_accounts": "x"})


@pytest.mark.parametrize("name", ["Acme", "", "a" * 41, "-a", "a_b", "../a", "a.b"])
def test_tenant_name_refuses(name: str) -> None:
    with pytest.raises(ValueError, match="is not a tenant's name"):
        syntax.tenant_name(name)


@pytest.mark.parametrize("name", [False, 1, "", "a b"])
def test_plan_name_refuses(name: object) -> None:
    with pytest.raises(ValueError, match="is not a plan's name"):
        syntax.plan_name(name)


@pytest.mark.parametrize("text", ["", "a\x00b", "a\nb", "p" * 249])
def test_password_refuses_without_showing(text: str) -> None:
    assert (
        refusal(syntax.password, text) == "not a password (not shown): 1 to 248 bytes (RFC 2449), no control characters"
    )


@pytest.mark.requirement("OM-8")
@pytest.mark.parametrize(
    "text", ["change this before the first run", "Change-Me!", "CHANGEME123", "please change me", "<your password>"]
)
def test_a_password_that_somebody_meant_to_replace_is_none(text: str) -> None:
    said = refusal(syntax.password, text)
    assert said.startswith("a text that stands where a password should (not shown), such as the template's: ")
    assert text not in said


def test_the_template_s_password_is_such_a_text() -> None:
    template = Path(syntax.__file__).absolute().parents[3] / "inventories/template/secrets"
    (secrets,) = [yaml.safe_load(path.read_text()) for path in template.iterdir()]
    for text in secrets.values():
        assert refusal(syntax.password, text).startswith("a text that stands")


@pytest.mark.parametrize("text", ["exchange mercy", "changeling", "I change this daily"])
def test_words_in_a_password_are_nobody_s_business(text: str) -> None:
    assert syntax.password(text) == text


def test_password_is_kept_as_written() -> None:
    assert syntax.password("Größe 1 ~no") == "Größe 1 ~no"
