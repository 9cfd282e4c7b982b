# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of a tenant's three files, and of the variable with the plans.

PRIVATE to the collection: it can have breaking changes at any time.

Each reader takes one file's parsed YAML and returns the valid part; the problems of its `Report` have the rest.  An
addresses file is read into a `Tenant` that has addresses only; its domains are the file's sections with their lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, Final, TypeAlias

from ...module_utils._directory import former_names, password_hashes, plan_syntax, syntax
from ...module_utils._directory.model import (
    ACCOUNT_STATES,
    CONTACTS,
    LANGUAGES,
    MANAGERS,
    PLAN_DEFAULTS,
    TENANT_STATES,
    Account,
    Alias,
    Autoreply,
    Domain,
    Forward,
    MovedDomain,
    Tenant,
)
from ...module_utils._directory.problems import Problem
from . import located_yaml as located

#: From the text of an inline `!vault` value to the plain text; raises ValueError with the reason.
Decrypt: TypeAlias = Callable[[str], str]
Node: TypeAlias = located.Node
#: From a node at a key path to its value; raises ValueError with the fault of the node itself.
Convert: TypeAlias = Callable[[Node, str], Any]


@dataclass
class Report:
    """The findings in one file."""

    file: str
    decrypt: Decrypt
    problems: list[Problem] = field(default_factory=list)
    decrypted: bool = False  # an inline value was decrypted: such a file is never cached
    zone: tzinfo = UTC  # the zone of dates
    lenient: frozenset[str] = frozenset(syntax.LENIENT_DOMAINS)  # dots may stand anywhere in their local parts

    def add(self, line: int, path: str, message: str) -> None:
        self.problems.append(Problem(self.file, line, path, message))

    def entries(self, node: Node | None, path: str) -> Iterator[tuple[located.Scalar, str, Node]]:
        """Keys, their paths and values of a mapping or of null; a duplicate key is a problem."""
        if node is None or _is_null(node):
            return
        if not isinstance(node, located.Mapping):
            self.add(node.line, path, f"{_kind(node)} is not a mapping (key: value)")
            return
        first: dict[str, int] = {}
        for key, value in node.items:
            key_path = _join(path, key.text)
            if key.text in first:
                self.add(key.line, key_path, f"duplicate key, first on line {first[key.text]}")
            else:
                first[key.text] = key.line
                yield key, key_path, value

    def fields(
        self, node: Node | None, path: str, known: Mapping[str, Convert], former: Mapping[str, Convert] | None = None
    ) -> dict[str, Any]:
        """The values of a mapping with known keys; wrong ones become problems and are left out.

        `former`: readers of former names, which report the present name.
        """
        values = {}
        converts = {**known, **(former or {})}
        for key, key_path, value in self.entries(node, path):
            if key.text not in converts:
                self.add(key.line, key_path, syntax.unknown_key(tuple(known)))
                continue
            try:
                values[key.text] = converts[key.text](value, key_path)
            except ValueError as error:
                self.add(value.line, key_path, str(error))
        return values

    def named(
        self, node: Node | None, path: str, name: Callable[[str], str]
    ) -> Iterator[tuple[str, located.Scalar, str, Node]]:
        """The entries of a mapping whose keys are names, with the normal form of each name."""
        first: dict[str, int] = {}
        for key, key_path, value in self.entries(node, path):
            try:
                normal = name(key.text)
            except ValueError as error:
                self.add(key.line, key_path, str(error))
                continue
            if normal in first:
                self.add(key.line, key_path, f"{syntax.shown(key.text)} is the same as line {first[normal]}")
            else:
                first[normal] = key.line
                yield normal, key, key_path, value

    def texts(self, node: Node, path: str, convert: Callable[[str], str]) -> tuple[str, ...]:
        """The normal forms of one text or a list of texts, each once; wrong ones become problems and are left out."""
        if not isinstance(node, located.Sequence):
            return (convert(_text(node)),)
        found: dict[str, None] = {}
        for index, item in enumerate(node.items):
            item_path = f"{path}[{index}]"
            try:
                value = convert(_text(item))
            except ValueError as error:
                self.add(item.line, item_path, str(error))
                continue
            if value in found:
                self.add(item.line, item_path, f"{syntax.shown(value)} is in this list twice")
            found[value] = None
        return tuple(found)

    def secret(self, node: Node) -> str:
        """The text of a password or a hash, decrypted if it is a vault.

        Raises: ValueError if it is not a text, or cannot be decrypted.
        """
        if isinstance(node, located.Scalar) and node.encrypted:
            self.decrypted = True
            return self.decrypt(node.text)
        if _is_null(node) or not isinstance(node, located.Scalar):
            raise ValueError("a text is needed; put it in quotes if it looks like something else")
        return node.text


def tenant(report: Report, name: str, node: Node | None) -> Tenant | None:
    """The operator's file; None if it has no plan, because nothing else can be checked then."""
    contact = _written(partial(syntax.target, lenient=report.lenient))
    known: dict[str, Convert] = {
        "plan": lambda node, _: (_text(node), node.line),
        "overrides": lambda node, path: report.fields(node, path, _PLAN_FIELDS, _FORMER_PLAN_FIELDS),
        "state": _written(partial(syntax.choice, allowed=TENANT_STATES)),
        "addresses_managed_by": _written(partial(syntax.choice, allowed=MANAGERS)),
        "language": _written(partial(syntax.choice, allowed=LANGUAGES)),
        "contacts": lambda node, path: report.fields(node, path, dict.fromkeys(CONTACTS, contact)),
        "domains": partial(_domains, report),
    }
    values = report.fields(node, "", known)
    if "plan" not in values:
        if not any(problem.path == "plan" for problem in report.problems):
            report.add(1, "plan", "missing: every tenant has a plan")
        return None
    plan, line = values.pop("plan")
    there = values.pop("domains", {})
    return Tenant(
        name,
        plan,
        line=line,
        domains={domain: item for domain, item in there.items() if isinstance(item, Domain)},
        moved_to={domain: item for domain, item in there.items() if isinstance(item, MovedDomain)},
        **values,
    )


def addresses(report: Report, name: str, node: Node | None) -> Tenant:
    """The addresses file: a tenant without a plan, whose domains are the file's sections."""
    result = Tenant(name, plan="")
    for domain, key, path, section in report.named(node, "", _section):
        result.domains[domain] = Domain(domain, line=key.line)
        known: dict[str, Convert] = {
            "accounts": partial(_accounts, report, domain),
            "aliases": partial(_aliases, report, domain),
        }
        values = report.fields(section, path, known)
        result.accounts.update((account.address, account) for account in values.get("accounts", ()))
        result.aliases.update((alias.address, alias) for alias in values.get("aliases", ()))
    return result


def _section(text: str) -> str:
    """A domain; a key of the operator's file gets a message of its own."""
    if text in _OPERATORS_KEYS or text in PLAN_DEFAULTS:
        raise ValueError("belongs in the tenant's own file, which is the operator's; this file has domains")
    return syntax.domain(text)


def secrets(report: Report, node: Node | None) -> dict[str, tuple[str, int]]:
    """Passwords and their lines by address.  No message shows a key that is no address: it may be a password."""
    found: dict[str, tuple[str, int]] = {}
    if node is None or _is_null(node):
        return found
    if not isinstance(node, located.Mapping):
        report.add(node.line, "", "not a mapping (address: password)")
        return found
    for key, value in node.items:
        try:
            address = syntax.address(key.text)
        except ValueError:
            report.add(key.line, "", "the key on this line (not shown) is not an address: local part, @, domain")
            continue
        if address in found:
            report.add(key.line, address, f"duplicate key, first on line {found[address][1]}")
            continue
        try:
            found[address] = (syntax.password(report.secret(value)), key.line)
        except ValueError as error:
            report.add(value.line, address, str(error))
    return found


def plans(
    value: object, origin: Callable[[object], tuple[str, int]]
) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """The variable mail_plans with normal values.  `origin` returns the file and line of a key or value."""
    result: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []

    def settings_of(key: object, path: str, settings: object) -> Iterator[tuple[str, object]]:
        if isinstance(settings, Mapping):
            yield from settings.items()
        elif settings is not None:
            problems.append(Problem(*origin(key), path, f"{syntax.shown(settings)} is not a mapping (key: value)"))

    for name, settings in settings_of(value, _PLANS, value):
        path = _join(_PLANS, str(name))
        try:
            plan = result.setdefault(syntax.plan_name(name), {})
        except ValueError as error:
            problems.append(Problem(*origin(name), path, str(error)))
            continue
        for key, setting in settings_of(name, path, settings):
            try:
                plan[str(key)] = plan_syntax.plan_setting(key, setting)
            except ValueError as error:
                problems.append(Problem(*origin(key), _join(path, str(key)), str(error)))
    return result, problems


def _domains(report: Report, node: Node, path: str) -> dict[str, Domain | MovedDomain]:
    found: dict[str, Domain | MovedDomain] = {}
    for name, key, domain_path, settings in report.named(node, path, syntax.domain):
        known: dict[str, Convert] = {
            "hostnames": lambda node, path: report.texts(node, path, syntax.hostname),
            "catch_all": _written(partial(_target, name, report.lenient)),
            "renamed_from": _written(syntax.domain),
            "moved_from": _written(syntax.tenant_name),
            "moved_to": _written(syntax.tenant_name),
        }
        values = report.fields(settings, domain_path, known)
        if "moved_to" not in values:
            found[name] = Domain(name, line=key.line, **values)
            continue
        found[name] = MovedDomain(name, values.pop("moved_to"), key.line)
        if values:
            message = f"stands alone: all else about {name} ({', '.join(values)}) belongs in that tenant's file"
            report.add(key.line, f"{domain_path}.moved_to", message)
    return found


def _accounts(report: Report, domain: str, node: Node, path: str) -> list[Account]:
    known: dict[str, Convert] = {
        "state": _written(partial(syntax.choice, allowed=ACCOUNT_STATES)),
        "quota": _typed(syntax.quota),
        "password_hash": lambda node, _: password_hashes.password_hash(report.secret(node)),
        "forward": partial(_forward, report, domain),
        "autoreply": partial(_autoreply, report),
        "renamed_from": _written(syntax.local_part),
        "restore": _typed(syntax.boolean),
    }
    return [
        Account(local_part, domain, line=key.line, **report.fields(settings, account_path, known))
        for local_part, key, account_path, settings in report.named(node, path, syntax.local_part)
    ]


def _aliases(report: Report, domain: str, node: Node, path: str) -> list[Alias]:
    found = []
    for local_part, key, alias_path, value in report.named(node, path, syntax.local_part):
        try:
            targets = _targets(report, domain, value, alias_path)
        except ValueError as error:
            report.add(value.line, alias_path, str(error))
        else:
            found.append(Alias(local_part, domain, targets, key.line))
    return found


def _forward(report: Report, domain: str, node: Node, path: str) -> Forward | None:
    if _is_null(node):
        return None
    known: dict[str, Convert] = {
        "to": partial(_targets, report, domain),
        "keep": _typed(syntax.boolean),
    }
    if not isinstance(node, located.Mapping) or all(key.text != "to" for key, _value in node.items):
        raise ValueError("needs the key to with an address or a list of them; null for no forwarding")
    return Forward(**{"to": (), **report.fields(node, path, known)})


def _autoreply(report: Report, node: Node, path: str) -> Autoreply | None:
    if _is_null(node):
        return None
    keys = ("body", "subject", "from", "until")
    values = report.fields(node, path, dict.fromkeys(keys, _written(str)))
    if not isinstance(node, located.Mapping) or all(key.text != "body" for key, _value in node.items):
        raise ValueError("needs the key body with the text of the answer; null for no auto-reply")
    return syntax.autoreply(*(values.get(key) for key in keys), zone=report.zone)


def _written(convert: Callable[[str], str]) -> Convert:
    return lambda node, _: convert(_text(node))


def _typed(convert: Callable[[object], Any]) -> Convert:
    return lambda node, _: convert(_native(node))


def _targets(report: Report, domain: str, node: Node, path: str) -> tuple[str, ...]:
    if isinstance(node, located.Sequence) and not node.items:
        raise ValueError("the list is empty")
    return report.texts(node, path, partial(_target, domain, report.lenient))


def _target(domain: str, lenient: frozenset[str], text: str) -> str:
    """A full address; a text without @ is a local part of the same domain."""
    return syntax.target(text, lenient) if "@" in text else f"{syntax.local_part(text)}@{domain}"


def _text(node: Node) -> str:
    """The text as written."""
    if isinstance(node, located.Scalar):
        return _open(node).text
    raise ValueError(f"{_kind(node)} is not a text")


def _native(node: Node) -> object:
    """The value with the type that its text has in YAML."""
    if isinstance(node, located.Sequence):
        return [_native(item) for item in node.items]
    if isinstance(node, located.Mapping):
        return {key.text: _native(value) for key, value in node.items}
    return _open(node).native()


def _open(node: located.Scalar) -> located.Scalar:
    if node.encrypted:
        raise ValueError("only a password or a password_hash may be encrypted")
    return node


def _is_null(node: Node) -> bool:
    return isinstance(node, located.Scalar) and node.native() is None


def _kind(node: Node) -> str:
    """The type of a node, without its value: a text in the wrong place may be a password."""
    return {located.Scalar: "a text", located.Sequence: "a list", located.Mapping: "a mapping"}[type(node)]


def _join(path: str, key: str) -> str:
    name = syntax.printable(key)
    return f"{path}.{name}" if path else name


_OPERATORS_KEYS: Final = (
    "plan",
    "overrides",
    "state",
    "addresses_managed_by",
    "language",
    "contacts",
    "domains",
)
_PLANS: Final = "mail_plans"
_PLAN_FIELDS: Final[dict[str, Convert]] = {key: _typed(partial(plan_syntax.plan_setting, key)) for key in PLAN_DEFAULTS}
_FORMER_PLAN_FIELDS: Final[dict[str, Convert]] = {
    key: _typed(partial(plan_syntax.plan_setting, key)) for key in former_names.FORMER_NAMES[former_names.PLAN]
}
