# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spellings of a login that mean the one in the directory."""

from __future__ import annotations

import unicodedata

import idna
import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import syntax

from .build import account, desired, tenant
from .conftest import Declare, See


def spelled(see: See, octets: bytes) -> list[str]:
    return [name for (name,) in see("dovecot", "SELECT username FROM v1.spelled(%s)", octets.hex())]


@pytest.mark.parametrize(
    "domain",
    [
        "日本語.example",
        "例え.テスト",
        "bücher.example",
        "straße.example",
        "ΣΑΣ.example",
        "παράδειγμα.δοκιμή",
        "пример.испытание",
        "ทดสอบ.example",
        "इंडिया.example",
        "xn--wgv71a119e.日本語",
        "a日b本c語-1.example",
        "日" * 15 + ".example",
        "ÄÖÜäöü.Example",
        "한국.example",
        "ｆｕｌｌ．ｗｉｄｔｈ。example",
        "İstanbul.example",
        "𠮷野家.example",
        "ソ" + "ニ" * 3 + "ー.example",
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC"])
def test_a_domain_has_the_labels_that_idna_gives_it(see: See, domain: str, form: str) -> None:
    written = unicodedata.normalize(form, domain)  # type: ignore[arg-type]  # one of its four literals
    if written.isascii():
        written = domain
    expected = idna.encode(written, uts46=True).decode()
    assert spelled(see, f"info@{written}".encode()) == [f"info@{expected}"]


@pytest.mark.parametrize(
    "login", ["Info@日本語.Example", "ｉｎｆｏ＠日本語．ｅｘａｍｐｌｅ", "info％日本語｡example", "INFO@日本語。EXAMPLE"]
)
def test_a_login_is_read_as_it_is_typed(see: See, login: str) -> None:
    assert spelled(see, login.encode()) == ["info@xn--wgv71a119e.example"]


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\xff\xfe",
        "日本語".encode(),
        "情報@日本語.example".encode(),
        "info@日本語.example\0".encode(),
        "info@日本語.example\n".encode(),
        "in fo@日本語.example".encode(),
        "a@b@日本語.example".encode(),
        "info@日_本.example".encode(),
        "info@日'本.example".encode(),
        "info@日本語..example".encode(),
        b"info@" + "日".encode() * 64 + b".example",
        "info@日本語.example".encode("shift_jis"),
        "info@日本語.example".encode()[:-9],
        "info@日本語.example".encode() * 60,
    ],
)  # fmt: skip
def test_what_can_be_no_login_of_ours_is_none(see: See, octets: bytes) -> None:
    assert spelled(see, octets) == []


def test_what_is_no_hex_is_none(see: See) -> None:
    for given in ("zz", "a", "é", "'", None):
        assert see("dovecot", "SELECT * FROM v1.spelled(%s)", given) == []


def test_dovecot_s_users_are_found_by_either_spelling(declare: Declare, see: See) -> None:
    declare(desired(tenant("acme", account(syntax.address("info@日本語.example")), domains=["xn--wgv71a119e.example"])))
    (by_name,) = see("dovecot", "SELECT * FROM v1.mailbox('info', 'xn--wgv71a119e.example')")
    (as_written,) = see("dovecot", "SELECT * FROM v1.mailbox(%s, '')", "=" + "info@日本語.example".encode().hex())
    assert as_written == by_name
    assert as_written[0] == "info@xn--wgv71a119e.example"
    assert see("dovecot", "SELECT * FROM v1.mailbox(%s, '')", "=" + "no@日本語.example".encode().hex()) == []
