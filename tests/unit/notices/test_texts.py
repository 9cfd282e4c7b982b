# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a notice, and its form as a mail."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from mailhosting.common import settings
from mailhosting.common.errors import SettingsError
from mailhosting.notices import texts
from mailhosting.notices.mail import Sender, compose
from mailhosting.notices.settings import Settings
from mailhosting.notices.texts import Text

OWN = "Subject: Full\n\n{account} is full.\n"
SENDER = Sender("ヴァリオ・サポートセンター", "support@variosecure.example")
MOMENT = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)
SETTINGS = {
    "directory": "dbname=mailhosting",
    "hostname": "mx1.example",
    "sender_name": "Support",
    "sender_address": "support@mx1.example",
    "support_name": "Support",
    "support_address": "support@mx1.example",
    "operator": "root@mx1.example",
    "charset": "utf-8",
    "keep_days": 90,
    "lmtp_socket": "/run/x",
    "texts": {},
}


def said(kind: str, language: str = "en", **facts: Any) -> Text:
    values = {**texts.values(facts, "acme", language), "support_name": "Us", "support_address": "us@x.example"}
    return texts.fill(texts.find(kind, "acme", language, {}), values)


def parsed(text: Text, charset: str) -> Any:
    raw = compose(text, SENDER, "taro@acme.example", "notice-7@mx1.example", MOMENT, charset)
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    message = message_from_bytes(raw, policy=policy.default)
    assert not message.defects
    assert not any(header.defects for header in message.values())
    return raw, message


@pytest.mark.parametrize("language", texts.LANGUAGES)
@pytest.mark.parametrize("kind", texts.KINDS)
def test_there_is_a_text_of_every_kind_in_every_language(kind: str, language: str) -> None:
    facts = {"account": "taro@acme.example", "count": 7, "limit": "5 an hour", "percent": 90, "quota": 1}
    text = said(kind, language, **facts, direction="send", until="2026-04-01T12:00:00Z")
    assert not re.search(r"\{|\}", "".join(text))
    assert text.body.isascii() is (language == "en" and kind not in texts.QUOTA_KINDS and "—" not in text.body)
    assert ("taro@acme.example" in text.body) is (kind not in texts.OPERATOR_KINDS)
    assert text.body.endswith(" Us\n[us@x.example]\n")


@pytest.mark.parametrize(("size", "shown"), [(1, 1), (1 << 20, 1), ((1 << 20) + 1, 2), (50 << 20, 50), (1100 << 10, 2)])
def test_a_quota_is_in_whole_mebibytes_rounded_up(size: int, shown: int) -> None:
    text = said("quota_exceeded", account="a@b.example", quota=size, percent=100)
    assert f"QuotaSize: {shown}[MB]\n" in text.body


def test_another_threshold_is_the_number_in_both_languages() -> None:
    body = said("quota_warning", account="a@b.example", quota=1, percent=75).body
    assert "more than 75% full" in body
    assert "75%を越えました" in body
    assert "90" not in body


def test_each_dash_is_the_documents() -> None:
    assert "\n– Us\n" in said("quota_exceeded").body
    assert "\n— Us\n" in said("quota_warning").body


@pytest.mark.parametrize(
    ("until", "shown"), [(None, "it is lifted"), ("2026-04-01T12:00:00Z", "2026-04-01"), ("soon", "soon")]
)
def test_when_a_limit_ends(until: str | None, shown: str) -> None:
    assert f"Until: {shown}" in said("limit_pause", until=until).body


@pytest.mark.parametrize(
    ("language", "action", "shown"),
    [
        ("en", "strip", "Action: the infected part was removed\n"),
        ("ja", "delete", "処置: メールを削除しました\n"),
        ("ja", "burn", "処置: burn\n"),
    ],
)
def test_what_became_of_an_infected_mail(language: str, action: str, shown: str) -> None:
    text = said("virus_received", language, action=action, sender="x@far.example", subject="a\n\nb", virus="Eicar")
    assert shown in text.body
    assert "Eicar\n" in text.body
    assert ": a b\n" in text.body


def test_a_fact_that_is_missing_is_a_hyphen_and_none_brings_lines() -> None:
    body = said("limit_pause", limit="5\nSubject: forged").body
    assert "Limit: 5 Subject: forged\n" in body
    assert "Count: -\n" in body


def test_the_nearest_text_is_taken() -> None:
    keys = ["quota_warning", "quota_warning.ja", "acme/quota_warning", "acme/quota_warning.ja"]
    for number in range(1, 5):
        own = {key: f"Subject: {key}\n\nx\n" for key in keys[:number]}
        assert texts.find("quota_warning", "acme", "ja", own).subject == keys[number - 1]
    assert texts.find("quota_warning", "bolt", "en", own).subject == "quota_warning"
    assert texts.find("quota_exceeded", "acme", "ja", own).subject == "*** Mail quota exceeded ***"


def test_an_unknown_kind_is_said_to_be_one() -> None:
    with pytest.raises(texts.UnknownKindError, match="'nonsense'; known are quota_warning"):
        texts.find("nonsense", None, "en", {})


@pytest.mark.parametrize(
    ("key", "written", "problem"),
    [
        ("quota_warning", OWN, ""),
        ("acme/quota_warning.ja", OWN, ""),
        ("quota_warning.fr", OWN, "quota_warning.fr: not KIND"),
        ("../quota_warning", OWN, "not KIND"),
        ("other", OWN, "not KIND"),
        ("acme/mass_mail.ja", OWN, "acme/mass_mail.ja: mass_mail is called bulk_mail since 0.2.0"),
        ("unknown_recipients", OWN, "unknown_recipients: unknown_recipients is called invalid_recipients since 0.2.0"),
        ("quota_warning", "Full\n\nx", "quota_warning: a text begins with a line 'Subject: …'"),
        ("quota_warning", "Subject: x\n\n", "begins with"),
        ("quota_warning", "Subject: x\nBcc: y\n\nx", "begins with"),
        ("quota_warning", "Subject: x\n\n{acount}", "{acount} is nothing that can be filled in; there are account"),
        ("quota_warning", "Subject: x\n\n" + "x" * 901, "a line is longer than 900 bytes"),
    ],
)
def test_an_operators_text_is_checked(key: str, written: str, problem: str) -> None:
    found = texts.check({key: written})
    assert len(found) == bool(problem)
    assert problem in "".join(found)


def test_settings_name_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(SETTINGS))
    assert settings.read(Settings, path).sender == Sender("Support", "support@mx1.example")
    path.write_text(json.dumps({**SETTINGS, "operator": ""}))
    assert settings.read(Settings, path).operator == ""
    bad = {"charset": "latin-1", "support_address": "nobody", "operator": "a b@c", "texts": {"x": OWN}}
    path.write_text(json.dumps({**SETTINGS, **bad}))
    with pytest.raises(SettingsError, match="notices_texts: x") as error:
        settings.read(Settings, path)
    lines = str(error.value).split("\n")
    assert [line.partition(":")[0] for line in lines] == [
        "notices_texts", "notices_charset", "notices_support_address", "notices_operator",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["quota_warning", "quota_exceeded"])
def test_as_utf_8(kind: str) -> None:
    text = said(kind, account="a@b.example", quota=50 << 20, percent=90)
    raw, message = parsed(text, "utf-8")
    assert text.body.replace("\n", "\r\n").encode() == raw.partition(b"\r\n\r\n")[2]
    assert message.get_content().replace("\r\n", "\n") == text.body
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert message["Subject"] == text.subject
    assert message["From"].addresses[0].display_name == SENDER.name
    assert b"Subject: *** Mail quota" in raw


@pytest.mark.parametrize("kind", texts.KINDS)
def test_as_iso_2022_jp(kind: str) -> None:
    text = said(kind, "ja", account="a@b.example", quota=50 << 20, percent=90)
    raw, message = parsed(text, "iso-2022-jp")
    assert raw.isascii()
    assert message.get_content_charset() == "iso-2022-jp"
    assert message["Content-Transfer-Encoding"] == "7bit"
    # JIS X 0208 has one dash; this decoder shows it as U+2015.
    assert message.get_content().replace("\r\n", "\n") == text.body.replace("–", "―").replace("—", "―")
    assert message["Subject"] == text.subject
    assert message["From"].addresses[0].display_name == SENDER.name
    if not text.subject.isascii():
        assert b"Subject: =?iso-2022-jp?b?" in raw


def test_what_jis_cannot_say_is_sent_in_utf_8() -> None:
    _raw, message = parsed(Text("Ünder", "한국어\n"), "iso-2022-jp")
    assert message.get_content_charset() == "utf-8"
    assert message.get_content() == "한국어\n" or message.get_content() == "한국어\r\n"
    assert message["Subject"] == "Ünder"


def test_nobody_answers_it() -> None:
    _raw, message = parsed(Text("x", "x\n"), "utf-8")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == "<notice-7@mx1.example>"
