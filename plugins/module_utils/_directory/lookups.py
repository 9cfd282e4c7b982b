# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions of schema `v1` that the daemons call at every mail and login; they read its views.

PRIVATE to the collection: it can have breaking changes at any time.

Postfix and Dovecot prepare no statements, and planning one of these views takes PostgreSQL ten times as long as running
it.  PL/pgSQL keeps a plan as long as the daemon keeps its connection.  A kept plan must suit a large directory too, so
every lookup uses an index.  PostgreSQL estimates such a plan as expensive enough to compile (JIT), and compiling takes
longer than any of these lookups.  A function has the rights of its caller, so a daemon sees no more than by the view.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .model import QUEUE_DOMAIN

#: Keeps a function's plans fast, whatever the size of the directory.
PLANNING: Final = "SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off"

#: Dovecot puts this before the octets, in hex, of a login that is not ASCII.  None of our logins begins with it.
SPELLED: Final = "="


class _Lookup(NamedTuple):
    """One function of schema `v1`."""

    daemon: str
    returns: str  # a column list
    answers: tuple[tuple[str, str], ...]  # (columns, view): the first view with a row answers
    limit: str = ""
    never: tuple[str, ...] = ()  # views: an address in one of them gets no answer
    former: str = ""  # a query: the answer for a domain's former name; `now_called` is the present name
    catch_all: str = ""  # columns of v1.catch_all: the answer for an address of the domain that does not exist
    by: tuple[str, ...] = ("local_part", "domain")  # columns of the views, asked for by of_COLUMN
    more: str = ""  # another argument
    variables: str = ""
    first: str = ""  # statements that run before all others


_LOOKUPS: Final[dict[str, _Lookup]] = {
    # An action of access(5): OK for an address that is delivered or forwarded, the refusal, a restriction class for
    # all@, no row for an address that does not exist.
    "recipient": _Lookup(
        "postfix",
        "action text",
        (
            ("'OK'::text", "mailbox_recipient"),
            ("v.reply", "recipient_refusal"),
            ("'OK'::text", "alias"),
            ("CASE v.senders WHEN 'everybody' THEN 'OK' ELSE 'all_members' END", "all_member"),
        ),
        # Names that mailboxes have in the queue are no addresses.
        first=f"""IF of_domain LIKE '%.{QUEUE_DOMAIN}' THEN
        RETURN QUERY SELECT '550 5.1.1 User unknown';
        RETURN;
    END IF;""",
        limit=" LIMIT 1",
        former="r.action FROM v1.recipient(of_local_part, now_called) r",
        catch_all="'OK'::text",
    ),
    "hosted_domain": _Lookup("postfix", "name text", (("v.domain", "domain"),), by=("domain",)),
    "alias_targets": _Lookup(
        "postfix",
        "address text",
        (("v.target", "alias"), ("v.target", "all_member")),
        never=("plain_mailbox", "recipient_refusal"),
        # Only what exists under the present name: other mail must be rejected at once, not bounce later.
        former="of_local_part || '@' || now_called FROM v1.recipient(of_local_part, now_called)",
        catch_all="v.target",
    ),
    "sender_logins": _Lookup("postfix", "username text", (("v.login", "sender"), ("v.login", "held_sender"))),
    "mailbox": _Lookup(
        "dovecot",
        "username text, home text, quota_storage_size bigint, closed boolean, autoreply_subject text,"
        " autoreply_body text, autoreply_addresses text, filters_held boolean, max_messages bigint, max_folders bigint,"
        " max_filters bigint, max_filters_size bigint",
        (
            (
                "v.username, v.home, v.quota_storage_size, false,"  # noqa: ISC004 - one text
                " v.autoreply ->> 'subject', v.autoreply ->> 'body', v.autoreply ->> 'addresses', v.filters_held,"
                " v.max_messages, v.max_folders, v.max_filters, v.max_filters_size",
                "userdb",
            ),
        ),
        # For a delivery: `of_marked` is the domain in the queue, whose mark tells the holder of the name at that time.
        # For a login: `of_login_since` is the account's login_since at the check of the password.
        more="of_marked text DEFAULT NULL, of_login_since text DEFAULT NULL",
        variables="holder record; mark_written integer := 0;",
        # An operator may name a user by the U-labels of its domain.
        first=f"""IF of_domain = '' AND starts_with(of_local_part, '{SPELLED}') THEN
        SELECT v.local_part, v.domain INTO of_local_part, of_domain
        FROM v1.spelled(substr(of_local_part, {len(SPELLED) + 1})) v;
    END IF;
    IF of_login_since <> '' THEN
        PERFORM FROM v1.login_standing v
        WHERE v.local_part = of_local_part AND v.domain = of_domain
            AND v.may_login AND v.login_since = of_login_since::double precision;
        IF NOT FOUND THEN RETURN; END IF;
    END IF;
    IF of_marked IS NOT NULL THEN
        -- Few domains have a mark, and PostgreSQL plans that function anew at each call.
        IF of_marked <> lower(of_marked) THEN mark_written := v1.mark_of(of_marked); END IF;
        SELECT * INTO holder FROM v1.name_holder v
        WHERE v.local_part = of_local_part AND v.domain = of_domain AND v.mark IN (0, mark_written)
        ORDER BY v.mark DESC LIMIT 1;
        IF holder.mark IS NOT NULL THEN
            RETURN QUERY SELECT v.username, v.home, v.quota_storage_size, true, NULL, NULL, NULL, false,
                NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint
            FROM v1.closed_mailbox v WHERE v.account_id = holder.account_id;
            IF FOUND THEN RETURN; END IF;
            of_local_part := holder.now_local_part;
            of_domain := holder.now_domain;
        END IF;
    END IF;""",  # noqa: S608 - a constant
    ),
    "login": _Lookup(
        "dovecot",
        "username text, password text, protocols text[], cleartext_auth boolean, may_login boolean,"
        " login_since double precision",
        (("v.username, v.password, v.protocols, v.cleartext_auth, v.may_login, v.login_since", "passdb"),),
    ),
    "legacy_login": _Lookup(
        "dovecot",
        "username text, key_id text, secret text, protocols text[], cleartext_auth boolean, may_login boolean,"
        " login_since double precision",
        (
            (
                "v.username, v.key_id, v.secret, v.protocols, v.cleartext_auth, v.may_login, v.login_since",
                "legacy_passdb",
            ),
        ),
    ),
    "relay_logins": _Lookup(
        "mailhosting-policy",
        "username text, pop_before_smtp integer, login_since double precision",
        (("v.username, v.pop_before_smtp, v.login_since", "relay_login"),),
    ),
    "is_member": _Lookup(
        "mailhosting-policy",
        "member boolean",
        (("true", "domain_member"),),
        by=("local_part", "domain", "recipient_domain"),
    ),
}


def text() -> str:
    """The SQL that creates the functions, after the views, and grants each to its daemon."""
    return "\n".join(_define(name, lookup) for name, lookup in _LOOKUPS.items()) + _QUEUED_AS


def _define(name: str, lookup: _Lookup) -> str:
    arguments = ", ".join([*(f"of_{column} text" for column in lookup.by), *filter(None, [lookup.more])])
    variables = f"{'now_called text;' if lookup.former else ''}{lookup.variables}"
    condition = " AND ".join(f"v.{column} = of_{column}" for column in lookup.by)
    steps = [lookup.first] if lookup.first else []
    steps += [
        f"PERFORM FROM v1.{view} v WHERE {condition};\n    IF FOUND THEN RETURN; END IF;" for view in lookup.never
    ]
    for columns, view in lookup.answers:
        query = f"SELECT {columns} FROM v1.{view} v WHERE {condition}{lookup.limit}"  # noqa: S608 - from the table above
        steps.append(f"RETURN QUERY {query};\n    IF FOUND THEN RETURN; END IF;")
    if lookup.former:
        steps.append(_FORMER.format(lookup.former))
    if lookup.catch_all:
        steps.append(_CATCH_ALL.format(lookup.catch_all))
    body = "\n    ".join(steps)
    return f"""
CREATE FUNCTION v1.{name}({arguments}) RETURNS TABLE ({lookup.returns})
{_KEPT_PLAN} AS $$
#variable_conflict use_column
{f"DECLARE {variables}" if variables else ""}
BEGIN
    {body}
END $$;
GRANT EXECUTE ON FUNCTION v1.{name} TO "{lookup.daemon}";"""


_KEPT_PLAN: Final = f"LANGUAGE plpgsql STABLE {PLANNING}"

# The addresses in Postfix's queue for a recipient. A mailbox gets the name that tells its holder, so that later
# renames do not matter. That is so too for a mailbox that takes no mail: only the host itself can send to one.
_QUEUED_AS: Final = f"""
CREATE FUNCTION v1.queued_as(of_local_part text, of_domain text) RETURNS TABLE (address text)
{_KEPT_PLAN} AS $$
#variable_conflict use_column
DECLARE
    itself text;
BEGIN
    RETURN QUERY SELECT v.address FROM v1.plain_mailbox v WHERE v.local_part = of_local_part AND v.domain = of_domain;
    IF FOUND THEN RETURN; END IF;
    SELECT v.address INTO itself FROM v1.queued_mailbox v WHERE v.local_part = of_local_part AND v.domain = of_domain;
    RETURN QUERY SELECT CASE WHEN t.address = of_local_part || '@' || of_domain THEN coalesce(itself, t.address)
                        ELSE t.address END
    FROM v1.alias_targets(of_local_part, of_domain) t;
    IF NOT FOUND AND itself IS NOT NULL THEN RETURN QUERY SELECT itself; END IF;
END $$;
GRANT EXECUTE ON FUNCTION v1.queued_as TO postfix;"""  # noqa: S608 - put together from constants

_FORMER: Final = """SELECT f.renamed_to INTO now_called FROM v1.former_domain f WHERE f.domain = of_domain;
    IF FOUND THEN RETURN QUERY SELECT {}; RETURN; END IF;"""

# Postfix asks for taro+tag before taro. Only the question for taro can tell that no such address exists.
_CATCH_ALL: Final = """IF strpos(of_local_part, '+') > 0 THEN RETURN; END IF;
    PERFORM FROM v1.mailbox_recipient v WHERE v.local_part = of_local_part AND v.domain = of_domain;
    IF FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT {} FROM v1.catch_all v WHERE v.domain = of_domain;"""
