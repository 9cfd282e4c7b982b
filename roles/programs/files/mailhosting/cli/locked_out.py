# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting locked-out: shows who cannot log in, send or connect, why and until when, and ends it."""

from __future__ import annotations

import argparse
import shlex
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final, Literal

from mailhosting_directory.problems import DirectoryError
from mailhosting_directory.rows import ABUSE, GATE, Current
from mailhosting_directory.store import Store

from ..gate.counters import Counters
from ..gate.model import HOST, LimitSubject
from . import host, jails, limits
from .directory import Subject, ask, complaint, connect, conninfo, names_of, resolve
from .host import Answer, CommandError, Commands, Host, NotHereError, UsageError
from .jails import FailedLogin, Network
from .words import moment, span

Kind = Literal["mail-login", "mail-address", "hold", "state", "pause"]

_TEXT: Final = """\
Show who cannot log in, send or connect, why, until when, and what ends it earlier:

  - logins and clients that fail2ban refuses after wrong passwords
  - holds that an operator, `lock` or the gate placed on an account or a tenant
  - pauses of senders and receivers that exceeded a limit
  - for an ADDRESS or TENANT: states in the inventory's files that forbid something

A NAME is an account's address, a tenant's name, a client (an IP address or network), or
`host`.  For an ADDRESS the output includes its tenant, the host and its clients, and the
clients from which its logins failed recently.  For root.

--lift ends what began by itself: for an ADDRESS its refused logins and its pauses, for a
client all its refusals, for a TENANT or `host` its pauses.  A hold or a state stays,
because somebody decided it; the answer says what ends it.

examples:
  mailhosting locked-out
  mailhosting locked-out taro@acme.example
  mailhosting locked-out 192.0.2.7 --lift
"""

_NOT_HERE: Final = (
    "nobody is shut out by this host: none of the roles fail2ban, directory and gate of mailhosting.stack is on it"
)
_ALL: Final = "log in, send or receive"
#: What a state forbids.
_STATES: Final = {"no_login": "log in", "suspended": _ALL, "closed": _ALL}
#: Scopes of the holds that shut somebody out.
_SHUTTING: Final = ("login", "send", "receive")
#: The most logins that a line names.
_NAMED: Final = 5


@dataclass(frozen=True)
class Query:
    """The subject of a query; everybody without a NAME (`kind` None).

    `subjects` are those in the directory: an account, its tenant, the host.
    """

    kind: Literal["account", "tenant", "host", "client"] | None = None
    name: str = ""
    network: Network | None = None
    tenant: str | None = None
    own: Subject | None = None
    subjects: frozenset[Subject] = frozenset()

    def has(self, subject: Subject) -> bool:
        """Whether the query includes this subject."""
        return self.kind is None or subject in self.subjects

    def is_from(self, client: Network) -> bool:
        """Whether the query's client overlaps this one."""
        return self.network is not None and self.network.overlaps(client)


@dataclass(frozen=True)
class ShutOut:
    """`name` (a login, account, tenant, client or `host`) cannot do something; with a `client` only from there.

    `since` and `until` are Unix times; None if unknown or without an end.
    """

    kind: Kind
    name: str
    client: str | None
    cannot: str
    reason: str
    since: int | None
    until: int | None
    ended_by: str


#: A finding, and the function that lifts it, if the query names just that and it began by itself.
Found = tuple[ShutOut, Callable[[], object] | None]


def add_to(commands: Commands) -> None:
    """Add the subcommand."""
    parser = host.add(commands, "locked-out", "show who cannot log in, send or connect, and why, or end it", _TEXT)
    what = "an address, tenant, client or `host`; all without it"
    parser.add_argument("name", metavar="NAME", nargs="?", type=host.name, help=what)
    parser.add_argument("--lift", action="store_true", help="end what keeps NAME out, if it began by itself")
    host.add_json(parser)
    parser.set_defaults(run=_answer)


def _answer(options: argparse.Namespace, on: Host) -> Answer:
    """Raises: CommandError."""
    if options.lift and options.name is None:
        raise UsageError("--lift needs a NAME: an address, a tenant, a client or `host`")
    if not (on.jails.exists() or on.clusters.exists() or on.gate_settings.exists()):
        raise NotHereError(_NOT_HERE)
    on.needs_root()
    complaints: list[str] = []
    query, unknown = _query(options.name, on)
    found, failing = _look(query, on, complaints)
    if unknown and not (found or failing or complaints):
        raise unknown
    lifted = _lift(found, complaints) if options.lift else []
    stay = [shut_out for shut_out, _end in found if shut_out not in lifted]
    data = {
        "name": query.name or None,
        "lifted": [asdict(each) for each in lifted],
        "shut_out": [asdict(each) for each in stay],
        "failing": failing,
    }
    lines = list(_lines(query, lifted if options.lift else None, stay, failing))
    # A service that does not answer may still keep somebody out.
    return Answer(data, lines if found or failing or not complaints else [], complaints)


def _look(query: Query, on: Host, complaints: list[str]) -> tuple[list[Found], list[dict[str, Any]]]:
    """All findings, and failed logins by client, of the services that answer."""
    found: list[Found] = []
    failing: list[dict[str, Any]] = []
    if on.jails.exists():
        with host.complaining(complaints):
            tried = jails.failed_logins("mail-tried")
            failing = _failing(query, tried)
            found += _in_jails(query, tried)
    if on.clusters.exists():
        with host.complaining(complaints):
            found += _in_directory(query, on)
    if on.gate_settings.exists():
        with host.complaining(complaints):
            found += _paused(query, on)
    return found, failing


def _lift(found: Iterable[Found], complaints: list[str]) -> list[ShutOut]:
    """Lift what the query names; what was lifted."""
    lifted = []
    for shut_out, lift in found:
        if lift is not None:
            with host.complaining(complaints):
                lift()
                lifted.append(shut_out)
    return lifted


@contextmanager
def _store(on: Host) -> Iterator[Store]:
    """The directory's store.  Raises: CommandError, also for errors while it is used."""
    import psycopg

    try:
        with connect(conninfo(on)) as connection:
            yield Store(connection)
    except psycopg.Error as error:
        raise complaint(error) from error
    except DirectoryError as error:
        raise CommandError(str(error)) from error


def _query(name: str | None, on: Host) -> tuple[Query, CommandError | None]:
    """The query for a NAME, and the error if it is unknown: fail2ban also bans logins that no account has.

    Raises: CommandError.
    """
    everybody: Subject = ("host", HOST)
    if name is None:
        return Query(), None
    if network := jails.network_of(name) if ":" in name or "." in name else None:
        return Query("client", jails.shown(network), network), None
    if name == "host":
        return Query("host", name, own=everybody, subjects=frozenset({everybody})), None
    asked = partial(ask, conninfo(on))
    try:
        scope, number, called = resolve(asked, name)
        own: Subject = (scope, number)
        if scope == "tenant":
            return Query("tenant", called, tenant=called, own=own, subjects=frozenset({own, everybody})), None
        with _store(on) as store:
            tenant = store.owner(called.rpartition("@")[2])
        tenants = {resolve(asked, tenant)[:2]} if tenant else set()
        return Query("account", called, tenant=tenant, own=own, subjects=frozenset({own, everybody, *tenants})), None
    except CommandError as error:
        if "@" in name:
            return Query("account", name.lower()), error
        raise


def _failing(query: Query, tried: Iterable[FailedLogin]) -> list[dict[str, Any]]:
    """Recently failed logins by client: of one client or one account; none without a NAME."""
    by_client: dict[Network, list[FailedLogin]] = defaultdict(list)
    for failed in tried:
        if query.is_from(failed.client) or (query.kind == "account" and failed.login == query.name):
            by_client[failed.client].append(failed)
    return [
        {
            "client": jails.shown(client),
            "logins": [failed.login for failed in logins],
            "since": min(failed.ban.since for failed in logins),
        }
        for client, logins in by_client.items()
    ]


def _in_jails(query: Query, tried: Sequence[FailedLogin]) -> Iterator[Found]:
    """Raises: CommandError."""
    everybody = query.kind is None
    for login, client, ban in jails.failed_logins("mail-login"):
        if everybody or query.is_from(client) or (query.kind == "account" and login == query.name):
            yield (
                ShutOut(
                    "mail-login", login, jails.shown(client), "log in", "wrong passwords for it came from there",
                    ban.since, ban.until, _command(login),
                ),
                None if everybody else partial(jails.unban, "mail-login", ban),
            )  # fmt: skip
    for ban in jails.bans("mail-address"):
        shut = jails.network_of(ban.id)
        if shut is None:
            continue
        logins = [failed.login for failed in tried if failed.client.overlaps(shut)]
        if everybody or query.is_from(shut) or (query.kind == "account" and query.name in logins):
            name = jails.shown(shut)
            reason = f"many logins failed from there{': ' if logins else ''}{_some(logins)}"
            yield (
                ShutOut(
                    "mail-address", name, name, "reach the mail ports", reason, ban.since, ban.until, _command(name)
                ),
                partial(jails.unban, "mail-address", ban) if query.kind == "client" else None,
            )


def _in_directory(query: Query, on: Host) -> Iterator[Found]:
    """Holds, and the states of the query's account and tenant.  Raises: CommandError."""
    if query.kind == "client":
        return
    with _store(on) as store:
        current = store.load(frozenset({query.tenant} if query.tenant else ()))
    asked = partial(ask, conninfo(on))
    if query.tenant:
        yield from ((shut_out, None) for shut_out in _states(query, current))
    shutting = [hold for hold in current.holds if hold.in_force and hold.scope in _SHUTTING]
    names = names_of(asked, [("account", hold.account_id) for hold in shutting if hold.account_id is not None])
    for hold in shutting:
        of_account = hold.account_id is not None
        name = names["account", hold.account_id] if hold.account_id is not None else str(hold.tenant)
        mine = query.has(("account", hold.account_id)) if hold.account_id is not None else query.tenant == hold.tenant
        # A closed mailbox has no address; `mailhosting limits show` has its held mail.
        if (query.kind is not None and not mine) or name.startswith("#"):
            continue
        ended_by = {
            GATE: f"`mailhosting limits release {shlex.quote(name)}`",
            ABUSE: f"`mailhosting unlock {shlex.quote(name)}`",
        }.get(
            hold.origin, f"the module {'mail_account' if of_account else 'mail_tenant'} with `release: [{hold.scope}]`"
        )
        by = {GATE: "the gate", ABUSE: "`mailhosting lock`"}.get(hold.origin, hold.origin)
        reason = f"hold by {by}: {hold.reason}"
        cannot = "log in" if hold.scope == "login" else hold.scope
        yield ShutOut("hold", name, None, cannot, reason, None, hold.until, ended_by), None


def _states(query: Query, current: Current) -> Iterator[ShutOut]:
    """What states in the inventory's files forbid to a tenant, or to an account of it."""
    assert query.tenant is not None  # noqa: S101 - for the type checker
    subjects = [(query.tenant, current.tenants[query.tenant].state, "tenants/")]
    if query.kind == "account" and (row := current.accounts.get(query.name)):
        subjects.append((query.name, row.state, "addresses/"))
    for name, state, folder in subjects:
        if cannot := _STATES.get(state):
            ended_by = f"`state: active` where it is declared, in {folder} or by a module, and a run"
            yield ShutOut("state", name, None, cannot, f"its state is {state}", None, None, ended_by)


@contextmanager
def _counters(on: Host) -> Iterator[Counters]:
    """The limits' counters.  Raises: CommandError."""
    with closing(limits.valkey_of(on)) as valkey:
        yield Counters(valkey, lambda _tenant_id: ())


def _end_pause(on: Host, subject: LimitSubject) -> None:
    """Raises: CommandError, ValkeyError."""
    with _counters(on) as counters:
        counters.lift(subject)


def _paused(query: Query, on: Host) -> Iterator[Found]:
    """Raises: CommandError, ValkeyError."""
    with _counters(on) as counters:
        now = _now()
        pauses = [pause for pause in counters.pauses() if query.has((pause.subject.scope, pause.subject.id))]
    names = names_of(partial(ask, conninfo(on)), [(pause.subject.scope, pause.subject.id) for pause in pauses])
    for pause in pauses:
        subject: Subject = (pause.subject.scope, pause.subject.id)
        name = names[subject]
        yield (
            ShutOut(
                "pause", name, None, pause.subject.direction, limits.exceeded(pause.limit),
                pause.since, now + pause.seconds_left, _command(name),
            ),
            partial(_end_pause, on, pause.subject) if subject == query.own else None,
        )  # fmt: skip


def _command(name: str) -> str:
    return f"`mailhosting locked-out {shlex.quote(name)} --lift`"


def _some(logins: Sequence[str]) -> str:
    more = len(logins) - _NAMED
    return ", ".join(logins[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _lines(
    query: Query, lifted: Sequence[ShutOut] | None, stay: Sequence[ShutOut], failing: Sequence[dict[str, Any]]
) -> Iterator[str]:
    for each in lifted or ():
        yield f"{_whom(each)} can {each.cannot} again"
    if lifted is not None and not lifted:
        yield f"{query.name}: there is nothing to lift"
    for each in stay:
        since = f", since {moment(each.since)}" if each.since is not None else ""
        yield f"{_whom(each)} cannot {each.cannot}{since}: {each.reason}"
        ends = "" if each.until is None else f"ends {moment(each.until)}, in {span(max(each.until - _now(), 0))}; or "
        yield f"    {ends}ended by {each.ended_by}"
    if not stay and not lifted:
        yield f"{query.name} is not shut out" if query.name else "nobody is shut out"
    for client in failing:
        logins = client["logins"]
        number = f"{len(logins)} logins" if len(logins) > 1 else "1 login"
        yield f"{number} failed from {client['client']} since {moment(client['since'])}: {_some(logins)}"


def _whom(shut_out: ShutOut) -> str:
    return f"{shut_out.name} from {shut_out.client}" if shut_out.kind == "mail-login" else shut_out.name


def _now() -> int:
    return int(time.time())
