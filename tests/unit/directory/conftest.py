# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory to test against: as the store, a daemon, or a task sees it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import passwords
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import Changes, Options
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Desired, to_document
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.reconcile import reconcile
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, Store, connect

Run = Callable[..., dict[str, Any]]
See = Callable[..., list[tuple[Any, ...]]]
Declare = Callable[..., Changes]

GRACE = 30 * 86400


@pytest.fixture
def store(place: Dsn) -> Iterator[Store]:
    with closing(connect(place)) as connection:
        yield Store(connection)


@pytest.fixture
def declare(store: Store) -> Declare:
    """`declare(desired, grace, **options)`: make the directory as `desired`, as a run of files does."""

    def run(desired: Desired, grace: int = GRACE, **options: Any) -> Changes:
        asked = Options(**options)
        changes = reconcile(store.load(), desired, asked)
        passwords.settle(changes.accounts, asked.fingerprint_key)
        store.apply(changes, grace)
        return changes

    return run


@pytest.fixture
def see(place: Dsn) -> Iterator[See]:
    """`see(user, query, *values)`: the rows that a database role gets."""
    with closing(connect(place._replace(user="postgres"))) as connection:

        def ask(user: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
            connection.execute(f'SET ROLE "{user}"')
            return connection.execute(query, values).fetchall()

        yield ask


@pytest.fixture
def run(place: Dsn, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(module, check=False, **options)`: the result that a task of a play would get."""
    # If other tests have imported Ansible's controller, a module's warnings do not reach its result.
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)

    def call(module: str, check: bool = False, **options: Any) -> dict[str, Any]:
        user = {} if module == "mail_schema" else {"user": place.user}
        arguments = {"database": place.database, "host": place.host, **user, **options}
        arguments |= {"_ansible_check_mode": check, "_ansible_diff": True}
        main = importlib.import_module(f"ansible_collections.mailhosting.stack.plugins.modules.{module}").main
        capfd.readouterr()
        warnings._global_warnings.clear()  # otherwise a module is a process of its own
        with patch_module_args(arguments), pytest.raises(SystemExit):
            main()
        result: dict[str, Any] = json.loads(capfd.readouterr().out)
        del result["invocation"]
        result["warnings"] = [warning["event"]["msg"] for warning in result.get("warnings", [])]
        return result

    return call


@pytest.fixture
def sync(run: Run) -> Run:
    """`sync(desired, check=False, **options)`: mail_directory with the document of its action plugin."""

    def call(desired: Desired, **options: Any) -> dict[str, Any]:
        return run("mail_directory", document=json.dumps(to_document(desired)), **options)

    return call
