# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by the subcommands of `mailhosting`: paths on a host, answers, and errors."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from ..common.errors import SourceError

#: Drop-ins of mailhosting-.service.d apply to this unit by its name.  It has the groups of its user: clamd's, too.
RESCAN: Final = (
    *("systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--unit=mailhosting-rescan-{os.getpid()}.service"),
    *("--property=User=mailhosting-gate", "--property=MemoryMax=1G", "--property=TasksMax=32"),
    "--property=InaccessiblePaths=-/etc/mailhosting -/etc/postfix -/run/dovecot",
    *("/usr/lib/mailhosting/run", "gate.rescan"),
)

#: The type that `add_subparsers` returns has a private name in argparse.
Commands = Any


class CommandError(Exception):
    """A subcommand failed; the text has the reason in one line."""

    exit_code: ClassVar[int] = 1


class UsageError(CommandError):
    """The arguments make no sense on any host; argparse uses the same exit code."""

    exit_code = 2


class NotHereError(CommandError):
    """The subcommand's service is not on this host."""

    exit_code = 3


@dataclass(frozen=True)
class Host:
    """Paths of the files and sockets that the command needs; tests use others.

    `directory` is libpq's connection string of the database; None is a host's own.
    """

    gate_settings: Path = Path("/etc/mailhosting/gate/settings.json")
    password_socket: Path = Path("/run/mailhosting/password.sock")
    #: A file of the role fail2ban, and the folder of a running PostgreSQL on Debian.
    jails: Path = Path("/etc/fail2ban/jail.d/mailhosting.conf")
    clusters: Path = Path("/etc/postgresql")
    directory: str | None = None
    #: Examines the mail on its standard input in the gate's sandbox; its argument is clamd's socket.
    rescan: Sequence[str] = RESCAN
    is_root: bool = os.geteuid() == 0

    def needs_root(self) -> None:
        """Refuse any user but root.  Raises: CommandError."""
        if not self.is_root:
            raise CommandError("this is for root")


@dataclass(frozen=True)
class Answer:
    """The output: `data` with --json, else `lines`.  `complaints` for stderr say which part is missing."""

    data: Mapping[str, Any]
    lines: Sequence[str]
    complaints: Sequence[str] = ()


@contextmanager
def complaining(complaints: list[str]) -> Iterator[None]:
    """Record an error of one part, and let the other parts continue."""
    try:
        yield
    except (CommandError, SourceError) as error:
        complaints.append(str(error))


def add(commands: Commands, name: str, purpose: str, text: str, **settings: Any) -> argparse.ArgumentParser:
    """A subcommand: its line in the list, and the text of its own help, printed as written."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=purpose, description=text, formatter_class=argparse.RawDescriptionHelpFormatter, **settings
    )
    return parser


def address(written: str) -> str:
    """The value of an ADDRESS.  Raises: ArgumentTypeError, which argparse prints."""
    local_part, _at, domain = written.rpartition("@")
    # doveadm takes a text that begins with a hyphen for an option.
    if not local_part or not domain or written.startswith("-"):
        raise argparse.ArgumentTypeError(f"{written!r} is no address")
    return written


def name(written: str) -> str:
    """The value of a NAME.  Raises: ArgumentTypeError, which argparse prints."""
    if not written:
        raise argparse.ArgumentTypeError("it is empty")
    return written


def add_address(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the argument ADDRESS."""
    parser.add_argument("address", metavar="ADDRESS", type=address)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
