# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of 1,000 malformed messages each is accounted for: reported, or deferred, and nothing of it unscanned."""

from __future__ import annotations

from email import message_from_bytes

import pytest
from mailhosting.gate.scan.findings import Limits
from malformed import messages
from sample_archives import EICAR
from toy_scan import report_on

MESSAGES = 1000
DEEP = 100


def as_python_reads_it(message: bytes) -> bool:
    """Whether the parser of Python, a mail program like others, would save an infected file."""
    if message.count(b"Content-Type:") > DEEP:
        # Too deep for it.
        return False
    parts = [part for part in message_from_bytes(message).walk() if not part.is_multipart()]
    contents = [part.get_payload(decode=True) for part in parts]
    return any(isinstance(content, bytes) and content.startswith(EICAR) for content in contents)


@pytest.mark.parametrize("first", range(0, MESSAGES, 100))
def test_malformed_messages(first: int) -> None:
    infected = 0
    for name, message in messages(range(first, first + 100)):
        report = report_on(message, Limits(unpacked=1 << 24))
        assert report.parts[0].header_at == 0, name
        for part in report.parts:
            assert 0 <= part.header_at <= part.body_at <= part.body_end <= len(message), name
        if as_python_reads_it(message):
            infected += 1
            assert report.findings, name
    assert infected > 15
