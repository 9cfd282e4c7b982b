# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`mailhosting SUBCOMMAND`: what an operator does on a mail host beside running playbooks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Final

from ..common.errors import SourceError
from . import autoreply, limits, lock, locked_out, password, unlock
from .host import Answer, CommandError, Host

#: The exit code where something is missing in an answer.
FAILED: Final = CommandError.exit_code
#: As shells call the end by Ctrl+C.
INTERRUPTED: Final = 130

_TEXT: Final = """Look at this mail host and put right what concerns one user, tenant or client.
What users and tenants are allowed in the first place is in the inventory's files.

Each subcommand has a --help with examples, and prints JSON with --json.
"""

_CODES: Final = """exit codes:
  0  done, or there was nothing to do
  1  it could not be done, or not all of it; stderr says why
  2  no such subcommand or option, or what was asked for makes no sense
  3  what the subcommand is about is not on this host
"""


def main(arguments: Sequence[str], host: Host | None = None) -> int:
    """Do what is asked and print how it went; the exit code."""
    options = parser().parse_args(arguments)
    run: Callable[[argparse.Namespace, Host], Answer] = options.run
    try:
        answer = run(options, host or Host())
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except SourceError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    if options.json:
        print(json.dumps(answer.data))
    elif answer.lines:
        print("\n".join(answer.lines))
    for complaint in answer.complaints:
        print(complaint, file=sys.stderr)
    return FAILED if answer.complaints else 0


def parser() -> argparse.ArgumentParser:
    """All subcommands."""
    top = argparse.ArgumentParser(
        prog="mailhosting",
        description=_TEXT,
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for subcommand in (locked_out, lock, unlock, limits, password, autoreply):
        subcommand.add_to(commands)
    return top
