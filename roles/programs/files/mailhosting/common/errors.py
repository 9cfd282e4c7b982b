# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the services that a program depends on.  The text of each names the service and the failure."""

from __future__ import annotations


class SourceError(Exception):
    """The directory, Valkey or Dovecot does not answer, or answers with an error."""


class DirectoryError(SourceError):
    """PostgreSQL does not answer, or with an error."""


class ValkeyError(SourceError):
    """Valkey answers with an error, or with something unexpected."""


class ValkeyUnavailableError(ValkeyError):
    """Valkey does not answer in time: writes to it may be lost."""


class DoveadmError(SourceError):
    """doveadm cannot run, or its output is of no use."""


class ScannerError(SourceError):
    """A mail could not be scanned: clamd or the program that unpacks does not answer, or without a clear result."""


class SettingsError(ValueError):
    """A program cannot use its settings.  The text has the file, and each key that is wrong."""


def one_line(error: BaseException) -> str:
    """The text of an error for a log: PostgreSQL's have several lines."""
    return " ".join(str(error).split())
