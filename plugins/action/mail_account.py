# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of mail_account: a password may be among the arguments."""

from __future__ import annotations

from ..plugin_utils._piped import PipedAction


class ActionModule(PipedAction):
    """Passes the module's arguments without a file."""
