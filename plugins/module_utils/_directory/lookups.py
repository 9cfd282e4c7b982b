# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemons ask at every mail and login: functions of schema `v1` over its views.

PRIVATE to the collection: it can have breaking changes at any time.

Postfix and Dovecot prepare no statements, and PostgreSQL takes ten times as long to plan one of these
views as to run it.  PL/pgSQL keeps its plans for as long as the daemon keeps its connection, so none may be one that is
good for a small directory alone: all go by an index.  PostgreSQL takes that for dear enough to compile, which takes
longer than anything here runs.  A function runs with the rights of who calls it, so that it shows no daemon more than
the view does.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .model import QUEUE_DOMAIN

#: What keeps a function's plans quick, whatever the size of the directory.
PLANNING: Final = "SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off"

#: What Dovecot puts before a login that is not ASCII's, whose octets follow in hex: no login of ours begins so.
SPELLED: Final = "="


class _Lookup(NamedTuple):
    """One function of schema `v1`."""

    daemon: str
    returns: str  # a column list
    answers: tuple[tuple[str, str], ...]  # (columns, view): the first that knows the arguments answers
    limit: str = ""
    never: tuple[str, ...] = ()  # views: whoever is in one of them gets no answer
    former: str = ""  # a query: the answer for a domain's former name, `now_called` being the present one
    catch_all: str = ""  # columns of v1.catch_all: the answer for an address of the domain that nobody has
    by: tuple[str, ...] = ("local_part", "domain")  # columns of the views, asked for by of_COLUMN
    more: str = ""  # another argument
    variables: str = ""
    first: str = ""  # statements before all others


_LOOKUPS: Final[dict[str, _Lookup]] = {
    # An action of access(5): OK for what is delivered or goes on, the refusal, a restriction class for all@,
    # nothing for what does not exist.
    "recipient": _Lookup(
        "postfix",
        "action text",
        (
            ("'OK'::text", "mailbox_recipient"),
            ("v.reply", "recipient_refusal"),
            ("'OK'::text", "alias"),
            ("CASE v.senders WHEN 'everybody' THEN 'OK' ELSE 'all_members' END", "all_member"),
        ),
        # What the queue calls a mailbox is nobody's address.
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
        # Only what the present name takes: an address that nobody has is to be refused, not to bounce.
        former="of_local_part || '@' || now_called FROM v1.recipient(of_local_part, now_called)",
        catch_all="v.target",
    ),
    "sender_logins": _Lookup("postfix", "username text", (("v.login", "sender"), ("v.login", "held_sender"))),
    "mailbox": _Lookup(
        "dovecot",
        "username text, home text, quota_storage_size bigint, closed boolean, autoreply_subject text,"
        " autoreply_body text, autoreply_addresses text, max_messages bigint, max_folders bigint, max_filters bigint,"
        " max_filters_size bigint",
        (
            (
                "v.username, v.home, v.quota_storage_size, false,"  # noqa: ISC004 - one text
                " v.autoreply ->> 'subject', v.autoreply ->> 'body', v.autoreply ->> 'addresses',"
                " v.max_messages, v.max_folders, v.max_filters, v.max_filters_size",
                "userdb",
            ),
        ),
        # A mail's: by the name that it was accepted for. of_marked is the domain as the queue has it.
        # A login's: what it was found to count from, by which the password was asked for.
        more="of_marked text DEFAULT NULL, of_login_since text DEFAULT NULL",
        variables="holder record;",
        # An operator may ask for a user as people write it.
        first=f"""IF of_domain = '' AND starts_with(of_local_part, '{SPELLED}') THEN
        SELECT v.local_part, v.domain INTO of_local_part, of_domain
        FROM v1.spelled(substr(of_local_part, {len(SPELLED) + 1})) v;
    END IF;
    IF of_login_since <> '' THEN
        PERFORM FROM v1.passdb v
        WHERE v.local_part = of_local_part AND v.domain = of_domain
            AND v.may_login AND v.login_since = of_login_since::double precision;
        IF NOT FOUND THEN RETURN; END IF;
    END IF;
    IF of_marked IS NOT NULL THEN
        SELECT * INTO holder FROM v1.name_holder v
        WHERE v.local_part = of_local_part AND v.domain = of_domain AND v.mark IN (0, v1.mark_of(of_marked))
        ORDER BY v.mark DESC LIMIT 1;
        IF holder.mark IS NOT NULL THEN
            RETURN QUERY SELECT v.username, v.home, v.quota_storage_size, true, NULL, NULL, NULL,
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
    """The SQL that makes the functions, after the views, and lets their daemons call them."""
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

# What a recipient becomes in Postfix's queue. A mailbox is called there by what says whose it is, whatever becomes of
# its names meanwhile; also one that takes no mail, which only the host itself may hand in.
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

# Postfix asks for taro+tag before it asks for taro: only the second may find that nobody is called so.
_CATCH_ALL: Final = """IF strpos(of_local_part, '+') > 0 THEN RETURN; END IF;
    PERFORM FROM v1.mailbox_recipient v WHERE v.local_part = of_local_part AND v.domain = of_domain;
    IF FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT {} FROM v1.catch_all v WHERE v.domain = of_domain;"""
