# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How every module of the directory runs: connect, load, reconcile, write, report.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ._directory import legacy, passwords, render, syntax
from ._directory.changes import Changes, Options
from ._directory.checks_after import unloaded_targets
from ._directory.model import Desired
from ._directory.over_limit import Over, may_be_over, over
from ._directory.problems import BadInputError, DirectoryError
from ._directory.reconcile import no_password, reconcile
from ._directory.rows import Current
from ._directory.schema import DATABASE, OWNER
from ._directory.store import SOCKET_DIRECTORY, Dsn, NoDirectoryError, Store, connect, locked, understood
from ._dovecot import DovecotError, end_sessions

#: Lists in a result are cut at this length: Ansible searches every text of a result for secrets.
CAP: Final = 100

GRACE: Final = "30d"

#: The choices of update_password, and whether they enforce a declared plain password.
UPDATE_PASSWORD: Final = {"on_create": False, "always": True}

#: mail_schema keeps the key for fingerprints of plain passwords here.
FINGERPRINT_KEY: Final = "/etc/mailhosting/fingerprint.key"

_Value = TypeVar("_Value")


class NotMadeYetError(DirectoryError):
    """An object does not exist, but without check mode this run might have created it before."""


class Request(NamedTuple):
    """What a module wants to change in the directory."""

    desired: Desired
    options: Options


def connection_options() -> dict[str, dict[str, Any]]:
    """The argument spec of the doc fragment `_directory`."""
    return {
        "database": {"type": "str", "default": DATABASE},
        "host": {"type": "str", "default": SOCKET_DIRECTORY},
        "user": {"type": "str", "default": OWNER},
    }


def value(option: str, convert: Callable[[Any], _Value], given: Any) -> _Value:
    """`convert(given)`, where `convert` is a function of `syntax`.

    Raises: DirectoryError that names the option.
    """
    try:
        return convert(given)
    except ValueError as error:
        raise DirectoryError(f"{option}: {error}") from None


@contextmanager
def reported(module: AnsibleModule) -> Iterator[None]:
    """Make the module fail with a message, and never a secret, for every error that an operator can act on."""
    try:
        yield
    except BadInputError as error:
        module.fail_json(msg=f"Nothing was changed.\n{error}")
    except DirectoryError as error:
        module.fail_json(msg=str(error))
    except ImportError as error:
        _fail_import(module, error)


@contextmanager
def opened(module: AnsibleModule) -> Iterator[Store | None]:
    """The store.  In check mode without a directory: None, with a warning."""
    place = Dsn(module.params["host"], module.params["user"], module.params["database"])
    try:
        connection = connect(place)
    except (ImportError, NoDirectoryError) as error:
        if not module.check_mode:
            raise
        module.warn(f"{error}; everything is reported as if the directory were empty")
        yield None
        return
    with understood(), closing(connection):
        yield _store(module, connection)


def run(
    module: AnsibleModule,
    scope: Callable[[Store], frozenset[str] | None],
    request: Callable[[Current], Request],
    would_change: bool = True,
    more: Callable[[Changes, Current], dict[str, Any]] = lambda _changes, _current: {},
) -> None:
    """Apply `request`, a function of the directory's present state, and exit the module.

    `scope` names the tenants to load (None: all).  `would_change` is check mode's answer if `request` raises
    NotMadeYetError.  `more` adds to the result.
    """
    with reported(module):
        try:
            with opened(module) as store:
                changes, current = _write(module, store, scope, request)
                exceeding = over(current, changes, store.used()) if store and may_be_over(changes) else []
        except NotMadeYetError as error:
            if not module.check_mode:
                raise
            module.warn(f"{error}; check mode assumes that an earlier task does that")
            module.exit_json(changed=would_change)
        silent = [no_password(changes)] if changes.without_password else []
        for warning in [*changes.warnings, *silent, *map(str, exceeding)][:CAP]:
            module.warn(warning)
        module.exit_json(**{**_result(module, changes, exceeding), **more(changes, current)})


def _store(module: AnsibleModule, connection: Any) -> Store | None:
    try:
        store = Store(connection)
    except NoDirectoryError as error:
        if not module.check_mode:
            raise
        module.warn(f"{error}; everything is reported as if the directory were empty")
        return None
    try:
        store.require_views()
    except NoDirectoryError as error:
        if not module.check_mode:
            raise
        module.warn(f"{error}; check mode assumes that an earlier task does that")
    return store


def _write(
    module: AnsibleModule,
    store: Store | None,
    scope: Callable[[Store], frozenset[str] | None],
    request: Callable[[Current], Request],
) -> tuple[Changes, Current]:
    grace = value("grace", syntax.duration, module.params.get("grace", GRACE))
    lock = locked(store.connection) if store and not module.check_mode else nullcontext()
    with lock:
        current, asked = _load(store, scope, request)
        options = replace(asked.options, secret_keys=legacy.key_ids(legacy.KEYS))
        changes = reconcile(current, asked.desired, options)
        if store and changes and not module.check_mode:
            passwords.settle(changes.accounts, asked.options.fingerprint_key, legacy.KEYS)
            store.apply(changes, grace)
    # After the lock is released, so that other runs do not wait for Dovecot.
    if store and changes.may_end_sessions and not module.check_mode:
        try:
            end_sessions(lambda users: {*store.without_login(users), *changes.logins_anew.intersection(users)})
        except DovecotError as error:
            module.warn(f"The directory is written, but {error}.")
    return changes, current


def _load(
    store: Store | None, scope: Callable[[Store], frozenset[str] | None], request: Callable[[Current], Request]
) -> tuple[Current, Request]:
    """The present state, as far as the request and the targets of its tenants need it."""
    current = store.load(scope(store)) if store else Current()
    asked = request(current)
    while store and current.loaded is not None and (more := unloaded_targets(current, asked.desired)):
        current = store.load(current.loaded | more)
        asked = request(current)
    return current, asked


def _result(module: AnsibleModule, changes: Changes, exceeding: list[Over]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "changed": bool(changes),
        "counts": {**changes.counts(), "undeclared": len(changes.undeclared)},
        "addresses": _addresses(changes)[:CAP],
        "settings": _settings(changes)[:CAP],
        "undeclared": sorted(changes.undeclared)[:CAP],
        "over": [{**item._asdict(), "excess": item.used - item.allowed} for item in exceeding[:CAP]],
    }
    if module._diff:
        result["diff"] = render.diff(changes, module.params.get("grace", GRACE))
    return result


def _addresses(changes: Changes) -> list[str]:
    return sorted([change.address for change in changes.accounts] + [change.address for change in changes.aliases])


def _settings(changes: Changes) -> list[str]:
    return [
        *(f"plan {plan.name}" for plan in changes.plans),
        *(f"tenant {tenant.name}" for tenant in changes.tenants),
        *(f"domain {name}" for name in _domains(changes)),
    ]


def _domains(changes: Changes) -> list[str]:
    names = [domain.name for domain in changes.domains]
    names += [move.name for move in changes.moved_domains]
    names += [rename.after for rename in changes.renamed_domains]
    return list(dict.fromkeys([*names, *(row.name for row in changes.ended_domains)]))


def _fail_import(module: AnsibleModule, error: ImportError) -> None:
    library = (error.name or str(error)).partition(".")[0]
    module.fail_json(
        msg=missing_required_lib(library, reason="(the role mailhosting.stack.directory installs it)"),
        exception=traceback.format_exc(),
    )
