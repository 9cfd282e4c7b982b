# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting autoreply: the senders that an account's automatic reply has answered."""

from __future__ import annotations

import argparse
import shutil
from typing import Final

from mailhosting_dovecot import DovecotError, forget_answered, has_home

from . import host
from .host import Answer, CommandError, Commands, Host, NotHereError

_TEXT: Final = """Let an account's automatic reply answer earlier senders again.  It answers each sender
once in a few days, also after a change of its text.  For root.

example:
  mailhosting autoreply forget taro@acme.example
"""


def add_to(commands: Commands) -> None:
    """Add the subcommand."""
    usage = "mailhosting autoreply forget ADDRESS [--json]"
    autoreply = host.add(commands, "autoreply", "let automatic replies go to earlier senders again", _TEXT, usage=usage)
    actions = autoreply.add_subparsers(metavar="forget", required=True, prog="mailhosting autoreply")
    forget = host.add(actions, "forget", "forget the senders that ADDRESS has answered", _TEXT, usage=usage)
    host.add_address(forget)
    host.add_json(forget)
    forget.set_defaults(run=_forget)


def _forget(options: argparse.Namespace, on: Host) -> Answer:
    """Raises: CommandError."""
    address: str = options.address
    if shutil.which("doveadm") is None:
        raise NotHereError(
            "automatic replies are Dovecot's, and the role mailhosting.stack.dovecot is not on this host"
        )
    on.needs_root()
    try:
        if not has_home(address):
            raise CommandError(f"there is no account {address}")
        forgotten = forget_answered(address, check=False)
    except DovecotError as error:
        raise CommandError(str(error)) from error
    said = f"{address} answers everybody again" if forgotten else f"{address} has no record of answered senders"
    return Answer({"address": address, "forgotten": forgotten}, [said])
