# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the role retention."""

from __future__ import annotations

from dataclasses import dataclass

from .plan import Mailboxes


@dataclass(frozen=True)
class Settings:
    """The settings that roles/retention/defaults describes."""

    own_mailboxes: list[str]
    trash_mailboxes: list[str]
    junk_mailboxes: list[str]
    report_days: int

    @property
    def mailboxes(self) -> Mailboxes:
        """The names of mailboxes that rules are about."""
        return Mailboxes(tuple(self.own_mailboxes), tuple(self.trash_mailboxes), tuple(self.junk_mailboxes))
