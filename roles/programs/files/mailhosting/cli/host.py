# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the subcommands of `mailhosting` share: where things are on a host, what they answer, and how they fail."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..common.errors import SourceError

#: argparse calls what `add_subparsers` returns by a private name.
Commands = Any


class CommandError(Exception):
    """It cannot be done; the text says what and why, in one line."""

    exit_code: ClassVar[int] = 1


class UsageError(CommandError):
    """What was asked for makes no sense on any host; argparse ends with the same code."""

    exit_code = 2


class NotHereError(CommandError):
    """The service that a subcommand is about is not on this host."""

    exit_code = 3


@dataclass(frozen=True)
class Host:
    """Where the roles put what the command needs; a test has them elsewhere.

    `directory` is where the database is, for libpq; None is where a host has it.
    """

    gate_settings: Path = Path("/etc/mailhosting/gate/settings.json")
    password_socket: Path = Path("/run/mailhosting/password.sock")
    #: What the role fail2ban writes, and what Debian's PostgreSQL has where it runs.
    jails: Path = Path("/etc/fail2ban/jail.d/mailhosting.conf")
    clusters: Path = Path("/etc/postgresql")
    directory: str | None = None
    is_root: bool = os.geteuid() == 0

    def needs_root(self) -> None:
        """Raises: CommandError for anybody else."""
        if not self.is_root:
            raise CommandError("this is for root")


@dataclass(frozen=True)
class Answer:
    """What is printed: `data` with --json, else `lines`.  With `complaints`, for stderr, something is missing in it."""

    data: Mapping[str, Any]
    lines: Sequence[str]
    complaints: Sequence[str] = ()


@contextmanager
def complaining(complaints: list[str]) -> Iterator[None]:
    """What goes wrong with one thing is said; the others are looked at or done all the same."""
    try:
        yield
    except (CommandError, SourceError) as error:
        complaints.append(str(error))


def add(commands: Commands, name: str, purpose: str, text: str, **settings: Any) -> argparse.ArgumentParser:
    """A subcommand: its line in the list of them, and what its own help says, examples as they are written."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=purpose, description=text, formatter_class=argparse.RawDescriptionHelpFormatter, **settings
    )
    return parser


def address(written: str) -> str:
    """What is written for an ADDRESS.  Raises: ArgumentTypeError, which argparse tells and ends by."""
    local_part, _at, domain = written.rpartition("@")
    # doveadm takes whatever begins with a hyphen for an option.
    if not local_part or not domain or written.startswith("-"):
        raise argparse.ArgumentTypeError(f"{written!r} is no address")
    return written


def name(written: str) -> str:
    """What is written for a NAME.  Raises: ArgumentTypeError, which argparse tells and ends by."""
    if not written:
        raise argparse.ArgumentTypeError("it is empty")
    return written


def add_json(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
