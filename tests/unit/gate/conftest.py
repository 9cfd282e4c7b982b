# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Valkey of the test run's own runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mailhosting.common.valkey import Valkey

    from .server import Server


@pytest.fixture(scope="session")
def running_server() -> Iterator[Server]:
    from .server import Server

    server = Server(Path(tempfile.mkdtemp(prefix="mhvk")))
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture
def server(running_server: Server) -> Server:
    """An empty one that has the usage of every account."""
    running_server.ask("FLUSHALL")
    running_server.ask("SET", "mh:1:usage:epoch", 1)
    return running_server


@pytest.fixture
def valkey(server: Server) -> Iterator[Valkey]:
    from mailhosting.common.valkey import Valkey

    with closing(Valkey(server.path, "gate")) as client:
        yield client
