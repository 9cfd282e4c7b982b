# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one instance of the gate: the argument is the name of its socket."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import Milter
import milter

from ..common import log, settings
from ..common.systemd import passed_text, ready
from ..common.valkey import Valkey
from .context import Gate, Texts
from .counters import Counters
from .directory import Directory
from .milter import Conversation
from .model import Reply
from .outbreak import OutbreakGuard
from .quarantine import Quarantine
from .scan.archives import Archives
from .scan.clamd import Clamd
from .scanner import Scanner
from .settings import Settings
from .spool import Spools
from .tenant_settings import read_limits

#: What the milter is called in libmilter's messages.
NAME: Final = "mailhosting-gate"
#: Seconds that libmilter waits for Postfix.
PATIENCE_SECONDS: Final = 600


def _reply(code: str, enhanced: str | None, words: str) -> Reply:
    """A reply as libmilter takes it, which reads a percent sign in it as the beginning of something."""
    return Reply(code, enhanced, words.replace("%", "%%"))


def _zone(name: str) -> tzinfo:
    """The zone of this name; UTC where this host does not know it: old names are a package of their own in Debian."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        logging.getLogger(__name__).warning("dates are written in UTC: %s", error)
        return UTC


def main() -> None:
    """Serve until something ends the process."""
    _program, instance = sys.argv
    found = settings.handed_over(Settings)
    Milter.factory = Conversation
    Milter.set_flags(
        Milter.QUARANTINE
        | Milter.CHGFROM
        | Milter.ADDHDRS
        | Milter.CHGHDRS
        | Milter.CHGBODY
        | Milter.ADDRCPT
        | Milter.DELRCPT
    )
    Milter.set_exception_policy(Milter.TEMPFAIL)
    directory = Directory(found.directory)
    valkey = Valkey(found.valkey_socket, found.valkey_user, passed_text("valkey"))
    quarantine = Quarantine(Path(found.quarantine), found.quarantine_size, directory)
    Conversation.gate = Gate(
        directory=directory,
        valkey=valkey,
        counters=Counters(valkey, directory.mailboxes),
        texts=Texts(**{name: _reply(*reply) for name, reply in found.texts.items()}),
        host_limits={
            "send": read_limits(found.send_limits, "send"),
            "receive": read_limits(found.receive_limits, "receive"),
        },
        zone=_zone(found.timezone),
        message_size_limit=found.message_size_limit,
        quarantine=quarantine,
        scanner=Scanner(
            Spools(found.spool, found.spool_size),
            Clamd(Path(found.clamd_socket), at_once=found.scans),
            Archives(Path(found.spool)),
        ),
        outbreak=OutbreakGuard(directory, valkey),
    )
    socket = f"unix:{found.sockets}/{instance}"
    # `runmilter` opens the socket only if nobody has, and returns when all is over.
    milter.setconn(socket)
    milter.register(NAME)
    milter.opensocket(True)  # and removes one that is there
    quarantine.sweep_on_and_on()
    ready()
    Milter.runmilter(NAME, socket, PATIENCE_SECONDS)


if __name__ == "__main__":
    log.set_up()
    main()
