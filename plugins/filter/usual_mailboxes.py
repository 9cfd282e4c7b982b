# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter usual_mailboxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: usual_mailboxes
author: mailhosting.stack authors
version_added: "0.2.0"
short_description: Names of mailboxes in mail programs
description:
  - Names that Outlook, Apple Mail, Thunderbird, Gmail and others give to mailboxes of a special use.
  - In English and Japanese.
options:
  _input:
    description: Special uses of RFC 6154, without the backslash.
    type: list
    elements: str
    choices: [Archive, Drafts, Junk, Sent, Trash]
    required: true
"""

EXAMPLES = r"""
# Names of what people wrote themselves, and one more.
retention_own_mailboxes: "{{ (['Sent', 'Drafts'] | mailhosting.stack.usual_mailboxes) + ['Gesendet'] }}"
"""

RETURN = r"""
_value:
  description: Their names, the usual one of each use first.
  type: list
  elements: str
"""

USUAL: Final = {
    "Archive": ("Archive", "Archives", "アーカイブ"),
    "Drafts": ("Drafts", "Draft", "Templates", "Outbox", "[Gmail]/Drafts", "[Gmail]/下書き", "下書き", "送信トレイ"),
    "Junk": (
        "Junk",
        "Junk E-mail",
        "Junk Email",
        "Junk Mail",
        "Spam",
        "[Gmail]/Spam",
        "[Gmail]/迷惑メール",
        "迷惑メール",
    ),
    "Sent": (
        "Sent",
        "Sent Items",
        "Sent Messages",
        "Sent Mail",
        "[Gmail]/Sent Mail",
        "[Gmail]/送信済みメール",
        "送信済み",
        "送信済みアイテム",
        "送信済みメール",
        "送信済みメッセージ",
        "送信済みトレイ",
        "送信控え",
    ),
    "Trash": (
        "Trash",
        "Deleted",
        "Deleted Items",
        "Deleted Messages",
        "[Gmail]/Trash",
        "[Gmail]/ゴミ箱",
        "ごみ箱",
        "ゴミ箱",
        "削除済みアイテム",
        "削除済みメール",
    ),
}


def usual_mailboxes(uses: Iterable[str]) -> list[str]:
    """The names of mailboxes of these special uses.

    Raises: AnsibleFilterError for another use.
    """
    uses = list(uses)
    if unknown := [use for use in uses if use not in USUAL]:
        raise AnsibleFilterError(f"usual_mailboxes: {unknown[0]!r} is none of {', '.join(USUAL)}")
    return [name for use in uses for name in USUAL[use]]


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"usual_mailboxes": usual_mailboxes}
