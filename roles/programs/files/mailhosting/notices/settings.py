# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's settings, from a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import texts
from .mail import CHARSETS, Sender


@dataclass(frozen=True)
class Settings:
    """The settings that roles/notices/defaults describes."""

    hostname: str
    sender: Sender
    support_name: str
    support_address: str
    operator: str
    charset: str
    keep_days: int
    lmtp_socket: str
    texts: Mapping[str, str]


def read(path: Path) -> Settings:
    """The settings in the file.  Raises: ValueError with a line for each mistake."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    problems = [f"notices_texts: {problem}" for problem in texts.check(found["texts"])]
    if found["charset"] not in CHARSETS:
        problems.append(f"notices_charset: {found['charset']!r} is none of {', '.join(CHARSETS)}")
    problems += [
        f"notices_{name}: {found[name]!r} is not an address"
        for name in ("sender_address", "support_address", "operator")
        if not (found[name] == "" and name == "operator") and not _is_address(found[name])
    ]
    if problems:
        raise ValueError("\n".join(problems))
    sender = Sender(found.pop("sender_name"), found.pop("sender_address"))
    return Settings(sender=sender, **found)


def _is_address(text: str) -> bool:
    local_part, at, domain = text.rpartition("@")
    return bool(local_part and at and domain and text.isascii() and text.isprintable() and not set(text) & set(" <>,"))
