# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemons ask at every mail and login: functions of schema `v1` over its views.

PRIVATE to the collection: it can have breaking changes at any time.

Postfix and Dovecot prepare no statements, and PostgreSQL takes ten times as long to plan one of these
views as to run it.  PL/pgSQL keeps its plans for as long as the daemon keeps its connection, so none may be one that is
good for a small directory alone: all go by an index.  A function
runs with the rights of who calls it, so that it shows no daemon more than the view does.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class _Lookup(NamedTuple):
    """One function of schema `v1`."""

    daemon: str
    returns: str  # a column list
    answers: tuple[tuple[str, str], ...]  # (columns, view): the first that knows the arguments answers
    limit: str = ""
    only_in: str = ""  # a view that is cheaper: whoever is not in it needs no other
    by: tuple[str, ...] = ("local_part", "domain")  # columns of the views, asked for by of_COLUMN


_LOOKUPS: Final[dict[str, _Lookup]] = {
    # An action of access(5): OK for what is delivered or goes on, the refusal, nothing for what does not exist.
    "recipient": _Lookup(
        "postfix",
        "action text",
        (("'OK'::text", "mailbox_recipient"), ("v.reply", "recipient_refusal"), ("'OK'::text", "alias")),
        limit=" LIMIT 1",
    ),
    "hosted_domain": _Lookup("postfix", "name text", (("v.domain", "domain"),), by=("domain",)),
    "alias_targets": _Lookup("postfix", "address text", (("v.target", "alias"),), only_in="forwarding"),
    "sender_logins": _Lookup("postfix", "username text", (("v.login", "sender"),)),
    "mailbox": _Lookup(
        "dovecot",
        "username text, home text, quota_storage_size bigint",
        (("v.username, v.home, v.quota_storage_size", "userdb"),),
    ),
    "login": _Lookup(
        "dovecot",
        "username text, password text, protocols text[], cleartext_auth boolean, may_login boolean",
        (("v.username, v.password, v.protocols, v.cleartext_auth, v.may_login", "passdb"),),
    ),
}


def text() -> str:
    """The SQL that makes the functions, after the views, and lets their daemons call them."""
    return "\n".join(_define(name, lookup) for name, lookup in _LOOKUPS.items())


def _define(name: str, lookup: _Lookup) -> str:
    arguments = ", ".join(f"of_{column} text" for column in lookup.by)
    condition = " AND ".join(f"v.{column} = of_{column}" for column in lookup.by)
    guard = f"PERFORM FROM v1.{lookup.only_in} v WHERE {condition};\n    IF NOT FOUND THEN RETURN; END IF;\n    "
    body = "\n    IF FOUND THEN RETURN; END IF;\n    ".join(
        f"RETURN QUERY SELECT {columns} FROM v1.{view} v"  # noqa: S608 - from the table above
        f" WHERE {condition}{lookup.limit};"
        for columns, view in lookup.answers
    )
    return f"""
CREATE FUNCTION v1.{name}({arguments}) RETURNS TABLE ({lookup.returns})
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    {guard if lookup.only_in else ""}{body}
END $$;
GRANT EXECUTE ON FUNCTION v1.{name} TO {lookup.daemon};"""
