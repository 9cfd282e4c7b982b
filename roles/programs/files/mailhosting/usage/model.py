# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data that the parts of the program exchange."""

from __future__ import annotations

from typing import NamedTuple


class Account(NamedTuple):
    """A mailbox."""

    id: int
    username: str
    tenant_id: int
