# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors in the input, in words by which its author can correct them.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class DirectoryError(Exception):
    """An error that an operator can act on; the message has what, where and what to do."""


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake.  `file` is empty and `line` is 0 if the input was no file."""

    file: str
    line: int
    path: str  # dotted keys, e.g. acme.example.accounts.ken.forward.to[0]
    message: str  # has the value and what is allowed; never a secret

    def __str__(self) -> str:
        """One line, e.g. `addresses/acme.yml:14: acme.example.accounts.ken.forward.to[0]: "ken@" is not an address`."""
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return ": ".join(part for part in (place, self.path, self.message) if part)


class BadInputError(DirectoryError):
    """One or more mistakes; the run changed nothing."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
