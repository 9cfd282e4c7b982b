# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A page of HTML as PDF, by the program of WeasyPrint.

PRIVATE to the collection: it can have breaking changes at any time.

The program, not the library: Ansible often lives in a virtual environment that lacks Debian's Python packages.  The
page passes by a pipe, so that no password is in an argument or a file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from typing import Final

_PROGRAM: Final = "weasyprint"
_SECONDS: Final = 120
# The same page makes the same PDF: otherwise fonts have the time of day, and sets a random order.
_ALWAYS: Final = {"SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": "0"}


class PdfError(Exception):
    """No PDF can be made; the message has the reason and the cure."""


def program() -> str | None:
    """WeasyPrint's program, from PATH or beside the Python that runs Ansible."""
    return shutil.which(_PROGRAM) or shutil.which(_PROGRAM, path=os.path.dirname(sys.executable))


def obstacle(languages: Collection[str]) -> str | None:
    """What this machine lacks for PDFs in these languages and what to install; None if nothing."""
    if program() is None:
        return "the program weasyprint is not installed (Debian's package weasyprint, or PyPI's)"
    for language in sorted(languages):
        if not _has_font(language):
            package = "fonts-noto-cjk or fonts-ipaexfont-gothic" if language == "ja" else "a font"
            return f"no font for the language {language} is installed (Debian's package {package})"
    return None


def identifier(html: str) -> str:
    """The file identifier (ISO 32000 14.4) of a PDF made from this page."""
    return hashlib.sha256(html.encode()).hexdigest()


def is_made_of(pdf: bytes, html: str) -> bool:
    return identifier(html).encode() in pdf


def make(html: str) -> bytes:
    """The PDF of a page.

    Raises: PdfError with the reason.
    """
    command = [program() or _PROGRAM, "--encoding", "utf-8", "--pdf-identifier", identifier(html), "-", "-"]
    try:
        done = subprocess.run(
            command, input=html.encode(), capture_output=True, check=False, timeout=_SECONDS, env=os.environ | _ALWAYS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no answer within {_SECONDS} s"
        raise PdfError(f"{command[0]}: {reason}") from None
    if done.returncode or not is_made_of(done.stdout, html):
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise PdfError(f"{command[0]}: {lines[-1]}")
    return done.stdout


def _has_font(language: str) -> bool:
    """Whether fontconfig knows a font with the language's letters; True without fontconfig."""
    asker = shutil.which("fc-list")
    if asker is None:
        return True
    listed = subprocess.run([asker, f":lang={language}", "family"], capture_output=True, check=False)
    return listed.returncode != 0 or bool(listed.stdout.strip())
