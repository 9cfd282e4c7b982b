# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with what a program depends on.  The text of each names it and says what happened."""

from __future__ import annotations


class SourceError(Exception):
    """The directory, Valkey or Dovecot does not answer, or not what it should."""


class DirectoryError(SourceError):
    """PostgreSQL does not answer, or with an error."""


class ValkeyError(SourceError):
    """Valkey refuses, or answers something that nobody understands."""


class ValkeyUnavailableError(ValkeyError):
    """Valkey does not answer in time: what it had to be told meanwhile may be lost."""


class DoveadmError(SourceError):
    """doveadm cannot be run, or says nothing that can be used."""


def one_line(error: BaseException) -> str:
    """The text of an error for a log: PostgreSQL's have several lines."""
    return " ".join(str(error).split())
