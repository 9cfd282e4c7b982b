# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading Postfix's requests, and rejecting what is not one."""

from __future__ import annotations

import random

import pytest
from mailhosting.policy.protocol import MalformedRequestError, parse, render


def test_a_request_is_its_attributes() -> None:
    block = b"request=smtpd_access_policy\nsender=a=b@acme.example\nsasl_username=\n\n"
    assert parse(block) == {"request": "smtpd_access_policy", "sender": "a=b@acme.example", "sasl_username": ""}


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"", "empty line"),
        (b"request=smtpd_access_policy\n", "empty line"),
        (b"\n", "request is ''"),
        (b"sender=a@b\n\n", "request is ''"),
        (b"request=junk_mail\n\n", "junk_mail"),
        (b"request=smtpd_access_policy\nno equals sign\n\n", "name=value"),
        (b"request=smtpd_access_policy\n=value\n\n", "name=value"),
        (b"request=smtpd_access_policy\nsender=a\0b\n\n", "name=value"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\n\n", "name=value"),
        (b"\x80\x02}q\x00\n\n", "name=value"),
    ],
)
def test_what_is_no_request_is_said_to_be_none(block: bytes, why: str) -> None:
    with pytest.raises(MalformedRequestError, match=why):
        parse(block)


def test_any_bytes_are_a_request_or_none() -> None:
    chance = random.Random(4)  # noqa: S311 - garbage, not a secret
    for _ in range(2000):
        block = bytes(chance.choice(b"request=smtpd_access_policy\n\0\xff=") for _ in range(chance.randrange(60)))
        try:
            parse(block + b"\n\n")
        except MalformedRequestError:
            continue


def test_bytes_of_no_encoding_come_back_as_they_went() -> None:
    assert render(parse(b"request=smtpd_access_policy\nrecipient=\xff\n\n")["recipient"]) == b"action=\xff\n\n"
