# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`mailhosting SUBCOMMAND`: an operator's tasks on a mail host beside running playbooks."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from ..common.errors import SourceError
from . import autoreply, limits, lock, locked_out, password, quarantine, unlock, virus
from .host import Answer, CommandError, Host

#: The exit code if a part of an answer is missing.
FAILED: Final = CommandError.exit_code
#: The exit code of shells after Ctrl+C.
INTERRUPTED: Final = 130

_TEXT: Final = """Show and repair the state of one user, tenant or client on this mail host.
What users and tenants may do is defined in the inventory's files.

Each subcommand has a --help with examples, and prints JSON with --json.
"""

_CODES: Final = """exit codes:
  0  done, or there was nothing to do
  1  not done, or not all of it; stderr has the reason
  2  unknown subcommand or option, or an argument that makes no sense
  3  the subcommand's service is not on this host
"""


def main(arguments: Sequence[str], host: Host | None = None) -> int:
    """Run a subcommand and print its answer; the exit code."""
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
    _print(json.dumps(answer.data) if options.json else "\n".join(answer.lines))
    for complaint in answer.complaints:
        print(complaint, file=sys.stderr)
    return FAILED if answer.complaints else 0


def _print(text: str) -> None:
    """Print a text, if there is one, to a reader that may read no further, such as head(1)."""
    try:
        if text:
            print(text, flush=True)
    except BrokenPipeError:
        # Python flushes standard output once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    top = argparse.ArgumentParser(
        prog="mailhosting",
        description=_TEXT,
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for subcommand in (locked_out, lock, unlock, limits, quarantine, virus, password, autoreply):
        subcommand.add_to(commands)
    return top
