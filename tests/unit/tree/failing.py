# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full at a chosen moment."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest


@contextmanager
def failing_at(monkeypatch: pytest.MonkeyPatch, nth: int, steps: Collection[str]) -> Iterator[None]:
    """Make the `nth` call of these functions of `os` fail as on a full disk."""
    originals, calls = {name: getattr(os, name) for name in steps}, count(1)

    def step(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(calls) == nth:
                raise OSError(28, "No space left on device", name)
            return originals[name](*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in steps:
            patch.setattr(os, name, step(name))
        yield
