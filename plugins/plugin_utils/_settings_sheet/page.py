# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sheet as a page of HTML in one language.

PRIVATE to the collection: it can have breaking changes at any time.

The template is `sheet.html.j2`, the texts of a language are `LANGUAGE.yml`.  In a folder of its own the operator may
replace the template, replace single texts, and add languages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from markupsafe import Markup, escape

from .content import Sheet

_DEFAULTS: Final = os.path.join(os.path.dirname(__file__), "defaults")
_TEMPLATE: Final = "sheet.html.j2"
_COMPLETE: Final = "en"  # has every text
_LANGUAGE: Final = re.compile(r"([a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)\.yml\Z")  # BCP 47, without its rare forms

# The password is in this element in every template; escaped, it cannot close it.
_SECRET: Final = Markup("<span data-secret>{}</span>")
_SECRET_CONTENT: Final = re.compile(r"(<span data-secret>)[^<]*(</span>)")
_STYLE: Final = re.compile(r"<style>.*?</style>", re.DOTALL)
_MASK: Final = "********"

_UNITS: Final = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))


def environment(folders: Sequence[str]) -> Environment:
    """The templates in `folders`: every value is escaped, and a missing one is an error."""
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


class PageError(Exception):
    """A fault in a template or in texts; the message names the file."""


class Pages:
    """Makes pages for one provider."""

    def __init__(self, folder: str | None, provider: str, support: list[str]) -> None:
        """`folder` is the operator's own; `support` are lines about how to get help."""
        folders = [folder, _DEFAULTS] if folder else [_DEFAULTS]
        self._texts = _texts(folders)
        pages = environment(folders)
        pages.filters["size"] = size
        try:
            self._template = pages.get_template(_TEMPLATE)
        except TemplateError as error:
            raise PageError(f"{_TEMPLATE}: {error}") from None
        self._provider = {"provider": provider, "support": support}

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(sorted(self._texts))

    def html(self, sheet: Sheet, language: str) -> str:
        """The page; it is secret if the sheet has a password.

        Raises: PageError if the template or a text is wrong.
        """
        shown: Any = sheet
        if sheet.password is not None:
            shown = replace(sheet, password=_SECRET.format(escape(sheet.password)))
        try:
            return self._template.render(sheet=shown, language=language, texts=self._texts[language], **self._provider)
        except (TemplateError, LookupError, TypeError, ValueError) as error:
            # With the file to correct: the error's own text lacks it.
            raise PageError(f"{_TEMPLATE} with {language}.yml: {type(error).__name__}: {error}") from None


def masked(html: str) -> str:
    """The page without its password."""
    return _SECRET_CONTENT.sub(rf"\g<1>{_MASK}\g<2>", html)


def unstyled(html: str) -> str:
    """The page without its style sheet, for a diff."""
    return _STYLE.sub("<style>…</style>", html)


def size(number: int) -> str:
    """Bytes for people, powers of 1024, rounded down to one decimal: 50 MB, 1.5 GB."""
    for unit, name in _UNITS:
        if number >= unit:
            whole, tenth = divmod(number * 10 // unit, 10)
            return f"{whole}.{tenth} {name}" if tenth and whole < 10 else f"{whole} {name}"
    return f"{number} B"


def _texts(folders: list[str]) -> dict[str, dict[str, Any]]:
    """The texts by language; earlier folders win."""
    found: dict[str, dict[str, Any]] = {}
    for folder in reversed(folders):
        for name in sorted(os.listdir(folder)):
            match = _LANGUAGE.match(name)
            if match:
                texts = found.setdefault(match[1], {})
                _merge(texts, _loaded(os.path.join(folder, name)))
    for language, texts in found.items():
        missing = sorted(_paths(found[_COMPLETE]) - _paths(texts))
        if missing:
            raise PageError(f"{language}.yml lacks {', '.join(missing)}")
    return found


def _loaded(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            texts = yaml.load(file, yaml.BaseLoader)  # noqa: S506 - it makes only texts: `no` is one
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PageError(f"{path}: {error}") from None
    if not isinstance(texts, dict):
        raise PageError(f"{path}: is not a mapping (key: text)")
    return texts


def _merge(texts: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(texts.get(key), dict):
            _merge(texts[key], value)
        else:
            texts[key] = value


def _paths(texts: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted keys of all texts."""
    paths: set[str] = set()
    for key, value in texts.items():
        paths |= _paths(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return paths
