# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the role gate, as an operator writes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mailhosting.stack.plugins.plugin_utils import _gate_settings as settings
from mailhosting.gate.context import Texts

ROLE = Path(__file__).parents[3] / "roles" / "gate"
A_LIMIT = "a limit has one of messages, recipients, and per"
A_REFUSAL = "is not a refusal: a code, 4 or 5 first, perhaps an enhanced status code, and words in printable ASCII"


def test_without_any_there_are_the_usual_texts_and_no_limits() -> None:
    found = settings.read(None, None, None)
    assert found["texts"]["limit"] == ["423", None, "sorry, that message exceeds my limit"]
    assert list(found["texts"]) == list(Texts.__dataclass_fields__)
    assert (found["send_limits"], found["receive_limits"]) == ([], [])


def test_a_text_leaves_the_others() -> None:
    found = settings.read({"limit": "451 4.7.1 100% used, wait"}, [], [])["texts"]
    assert found["limit"] == ["451", "4.7.1", "100% used, wait"]
    assert {**found, "limit": None} == {**settings.read({}, [], [])["texts"], "limit": None}


def test_the_hosts_limits_are_written_like_a_plans() -> None:
    found = settings.read({}, [{"messages": 20, "per": "1h"}], [{"recipients": "7", "per": "1m", "pause": "2h"}])
    assert found["send_limits"] == [{"messages": 20, "per": 3600, "pause": None, "pause_applies_to": ["send"]}]
    # Of the whole host no direction stops for the other's sake.
    assert found["receive_limits"] == [{"recipients": 7, "per": 60, "pause": 7200, "pause_applies_to": ["receive"]}]
    both = {"messages": 20, "per": "1h", "pause": "1s", "pause_applies_to": ["receive", "send"]}
    assert settings.read({}, [both], [])["send_limits"][0]["pause_applies_to"] == ["send", "receive"]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("texts", ["423 no"], "gate_texts: a list is not a mapping of message_size, limit, full, bulk_mail"),
        ("texts", {"limits": "423 no"}, "gate_texts: limits: unknown key; known here: message_size, limit, full"),
        ("texts", {"mass_mail": "550 no"}, "gate_texts: mass_mail: is called bulk_mail since 0.2.0"),
        (
            "texts",
            {"unknown_recipients": "550 no"},
            "gate_texts: unknown_recipients: is called invalid_recipients since 0.2.0",
        ),
        ("texts", {"full": "250 OK"}, f'gate_texts: full: "250 OK" {A_REFUSAL}, such as "452 sorry, '),
        ("texts", {"full": "354 go on"}, f'gate_texts: full: "354 go on" {A_REFUSAL}'),
        ("texts", {"full": "499 no"}, f'gate_texts: full: "499 no" {A_REFUSAL}'),
        ("texts", {"full": 452}, f"gate_texts: full: 452 {A_REFUSAL}"),
        ("texts", {"full": "452 "}, f'gate_texts: full: "452 " {A_REFUSAL}'),
        ("texts", {"full": None}, f"gate_texts: full: null {A_REFUSAL}"),
        ("texts", {"full": "452 no\r\n250 yes"}, rf'gate_texts: full: "452 no\r\n250 yes" {A_REFUSAL}'),
        ("texts", {"full": "452 いっぱい"}, f'gate_texts: full: "452 いっぱい" {A_REFUSAL}'),
        ("texts", {"full": "452 5.2.2 no"}, 'gate_texts: full: "452 5.2.2 no": 452 and 5.2.2 contradict each other'),
        ("texts", {"full": "452 " + "x" * 507}, "gate_texts: full: "),
        ("send_limits", {"messages": 5}, "gate_send_limits: a mapping is not a list of limits, such as [{messages: "),
        ("send_limits", [{"per": "1h"}], f"gate_send_limits[0]: {A_LIMIT}; a mapping has per"),
        (
            "receive_limits",
            [{"messages": 5, "per": "1h"}, {"messages": 5, "per": 3600}],
            "gate_receive_limits[1]: 3600 is not a duration: a number with s, m, h, d or w, such as 30d",
        ),
        (
            "receive_limits",
            [{"messages": 5, "per": "1h", "pause": "3h"}],
            'gate_receive_limits[0]: pause: "3h" is not from 1s to 2h',
        ),
        (
            "send_limits",
            [{"messages": 5, "per": "1h", "stop": "send"}],
            "gate_send_limits[0]: stop: unknown key; known here: messages, recipients, per, pause, pause_applies_to",
        ),
        (
            "send_limits",
            [{"messages": 5, "per": "1h", "pause": "1h", "stops": "send"}],
            "gate_send_limits[0]: stops: is called pause_applies_to since 0.2.0",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_variable(variable: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        settings.read(**{"texts": {}, "send_limits": [], "receive_limits": [], variable: value})


def test_the_longest_text_is_one_line() -> None:
    assert settings.read({"full": "452 " + "x" * 506}, [], [])["texts"]["full"][2] == "x" * 506


def test_the_specification_says_the_usual_texts() -> None:
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    described = {name: str(option["description"]) for name, option in options["gate_texts"]["options"].items()}
    assert list(described) == list(settings.TEXTS)
    for name, text in settings.TEXTS.items():
        assert f'Default "{text}".' in described[name]
