# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of envelopes and logins, read in one way by all programs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailhosting.common.address import parse


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("<Taro+box@ACME.example>", ("taro", "acme.example")),
        ('<"12:30"@acme.example>', ("12:30", "acme.example")),
        (r'<"ta\ro"@acme.example>', ("taro", "acme.example")),
        ("<taro@acme.example.>", ("taro", "acme.example")),
        ("<>", None),
        ("<postmaster>", None),
        ("<\u592a\u90ce@acme.example>", ("\u592a\u90ce", "acme.example")),
        ("<taro+\u3000@acme.example>", ("taro", "acme.example")),
        ('<"taro+\x01"@acme.example>', ("taro", "acme.example")),
        ('<"taro\\\n"@acme.example>', ("taro\n", "acme.example")),
        ("<taro+\udcff@acme.example>", ("taro", "acme.example")),
        # A local part that no account has may still match a catch-all.
        ("<+box@acme.example>", ("+box", "acme.example")),
        ('<"a@far.example"@acme.example>', ("a\ufffdfar.example", "acme.example")),
        ("<ta\udcffro@acme.example>", ("ta\ufffdro", "acme.example")),
        ("<a@b\x00c>", ("a", "b\ufffdc")),
        ("Taro@ACME.Example", ("taro", "acme.example")),
        ('"12:30"@acme.example', ("12:30", "acme.example")),
        ("", None),
        ("taro", None),
        ("@acme.example", None),
        ("taro@", None),
        # Four programs once read these in two ways.
        ("+box@acme.example", ("+box", "acme.example")),
        (r'"a\.b"@acme.example', ("a.b", "acme.example")),
        ("taro@acme.example.", ("taro", "acme.example")),
        ("ta\xa0ro@acme.example", ("ta\xa0ro", "acme.example")),
    ],
)
def test_addresses_of_envelopes(written: str, expected: tuple[str, str] | None) -> None:
    assert parse(written) == expected


def test_a_login_has_no_extension() -> None:
    assert parse("taro+box@acme.example", delimiter="") == ("taro+box", "acme.example")


@given(st.text())
def test_the_directory_can_be_asked_for_whatever_is_written(written: str) -> None:
    found = parse(written)
    if found is not None:
        assert found.local_part
        assert found.domain
        assert "@" not in found.local_part
        assert "\0" not in str(found)
        str(found).encode()
