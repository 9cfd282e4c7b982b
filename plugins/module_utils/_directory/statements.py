# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SQL of the store: one statement to load, one a table to write.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from .changes import AccountChange, Changes

#: Columns in the order of rows.AccountRow.
_ACCOUNT: Final = """
    ac.id, {where}.local_part, {where}.domain, t.name, ac.state, ac.quota, {origin}, ac.password,
    CASE WHEN ac.password_applied IS NOT NULL THEN ac.password IS NOT DISTINCT FROM ac.password_applied END,
    ac.password_fingerprint, ac.forward_to, ac.forward_keep, ac.forward_applied, ac.autoreply, ac.autoreply_applied,
    split_part(ac.legacy_secret, '$', 1), ac.swapped_from"""

_OF_TENANTS: Final = "(%(tenants)s::text[] IS NULL OR t.name = ANY (%(tenants)s))"

#: One row of JSON texts: plans, tenants, domains, their former names, accounts, aliases, closed accounts, holds.
LOAD: Final = f"""
SELECT
    (SELECT coalesce(json_object_agg(name, settings), '{{}}')::text FROM directory.plan),
    (SELECT coalesce(json_agg(json_build_array(t.name, t.plan, t.overrides, t.state, t.addresses_managed_by,
                                               t.language, t.contacts, t.origin, coalesce(m.mailboxes, 0))), '[]')::text
     FROM directory.tenant t
     LEFT JOIN (SELECT tenant_id, count(*) AS mailboxes FROM directory.account GROUP BY tenant_id) m
         ON m.tenant_id = t.id),
    (SELECT coalesce(json_agg(json_build_array(d.name, t.name, d.hostnames, d.catch_all)), '[]')::text
     FROM directory.domain d JOIN directory.tenant t ON t.id = d.tenant_id),
    (SELECT coalesce(json_agg(json_build_array(f.name, f.domain, extract(epoch FROM now() - f.renamed_at)::bigint)),
                     '[]')::text
     FROM directory.former_domain f),
    (SELECT coalesce(json_agg(json_build_array({_ACCOUNT.format(where="ad", origin="ad.origin")})), '[]')::text
     FROM directory.address ad
     JOIN directory.account ac ON ac.id = ad.account_id
     JOIN directory.tenant t ON t.id = ac.tenant_id
     WHERE {_OF_TENANTS}),
    (SELECT coalesce(json_agg(json_build_array(ad.local_part, ad.domain, ad.targets, ad.origin)), '[]')::text
     FROM directory.address ad
     JOIN directory.domain d ON d.name = ad.domain
     JOIN directory.tenant t ON t.id = d.tenant_id
     WHERE ad.kind = 'alias' AND {_OF_TENANTS}),
    -- The latest row of an address comes last, so it wins in the dictionary.
    (SELECT coalesce(json_agg(json_build_array({_ACCOUNT.format(where="cl", origin="''")})
                              ORDER BY cl.closed_at, cl.account_id), '[]')::text
     FROM directory.closed cl
     JOIN directory.account ac ON ac.id = cl.account_id
     JOIN directory.tenant t ON t.id = ac.tenant_id
     WHERE cl.expires_at > now() AND {_OF_TENANTS}),
    (SELECT coalesce(json_agg(json_build_array(h.account_id, t.name, h.scope, h.reason,
                                               extract(epoch FROM h.until)::bigint, h.origin,
                                               coalesce(h.until > now(), true))), '[]')::text
     FROM directory.hold h LEFT JOIN directory.tenant t ON t.id = h.tenant_id)
"""  # noqa: S608 - put together from constants

OWNER: Final = "SELECT t.name FROM directory.tenant t JOIN directory.domain d ON d.tenant_id = t.id WHERE d.name = %s"

#: Those of some login names that may not log in, or no longer.
WITHOUT_LOGIN: Final = """
SELECT u.username FROM unnest(%s::text[]) AS u (username)
WHERE NOT EXISTS (
    SELECT FROM v1.passdb p WHERE p.local_part = split_part(u.username, '@', 1)
    AND p.domain = split_part(u.username, '@', 2) AND p.may_login)
"""

LOCK_HOLDER: Final = """
SELECT l.pid, to_char(a.backend_start, 'HH24:MI:SS')
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objid = %s::bigint::oid AND l.objsubid = 1
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

#: Secrets under other keys than these; for a closed account with its last address.
OTHER_SECRETS: Final = """
SELECT ac.id, coalesce(ad.local_part || '@' || ad.domain, cl.local_part || '@' || cl.domain), ac.legacy_secret
FROM directory.account ac
LEFT JOIN directory.address ad ON ad.account_id = ac.id
LEFT JOIN directory.closed cl ON cl.account_id = ac.id
WHERE ac.legacy_secret IS NOT NULL AND split_part(ac.legacy_secret, '$', 1) <> ALL (%s)
ORDER BY ac.id
"""

#: The oldest secret under each key.
SAMPLES: Final = """
SELECT DISTINCT ON (split_part(ac.legacy_secret, '$', 1))
    coalesce(ad.local_part || '@' || ad.domain, cl.local_part || '@' || cl.domain), ac.legacy_secret
FROM directory.account ac
LEFT JOIN directory.address ad ON ad.account_id = ac.id
LEFT JOIN directory.closed cl ON cl.account_id = ac.id
WHERE ac.legacy_secret IS NOT NULL
ORDER BY split_part(ac.legacy_secret, '$', 1), ac.id
"""

REENCRYPT: Final = """
UPDATE directory.account ac SET legacy_secret = r.after
FROM json_to_recordset(%s) AS r (id bigint, before text, after text)
WHERE ac.id = r.id AND ac.legacy_secret = r.before
"""

_PLANS: Final = """
INSERT INTO directory.plan (name, settings, origin)
SELECT * FROM json_to_recordset(%s) AS r (name text, settings jsonb, origin text)
ON CONFLICT (name) DO UPDATE SET settings = excluded.settings
"""

_TENANTS: Final = """
INSERT INTO directory.tenant (name, plan, overrides, state, addresses_managed_by, language, contacts, origin)
SELECT * FROM json_to_recordset(%s) AS r (name text, plan text, overrides jsonb, state text,
    addresses_managed_by text, language text, contacts jsonb, origin text)
ON CONFLICT (name) DO UPDATE SET plan = excluded.plan, overrides = excluded.overrides, state = excluded.state,
    addresses_managed_by = excluded.addresses_managed_by, language = excluded.language, contacts = excluded.contacts,
    origin = excluded.origin
"""

_FORGET_FORMER_DOMAINS: Final = """
DELETE FROM directory.former_domain f USING json_to_recordset(%s) AS r (name text) WHERE f.name = r.name
"""

_MOVE_DOMAINS: Final = """
UPDATE directory.domain d SET tenant_id = t.id
FROM json_to_recordset(%s) AS r (name text, before text, after text)
JOIN directory.tenant o ON o.name = r.before
JOIN directory.tenant t ON t.name = r.after
WHERE d.name = r.name AND d.tenant_id = o.id
"""

# Closed accounts too: an operator may restore them.
_MOVE_ACCOUNTS: Final = """
UPDATE directory.account ac SET tenant_id = t.id
FROM json_to_recordset(%s) AS r (name text, before text, after text)
JOIN directory.tenant o ON o.name = r.before
JOIN directory.tenant t ON t.name = r.after
WHERE ac.tenant_id = o.id AND (
    EXISTS (SELECT FROM directory.address ad WHERE ad.account_id = ac.id AND ad.domain = r.name)
    OR EXISTS (SELECT FROM directory.closed c WHERE c.account_id = ac.id AND c.domain = r.name))
"""

# Notices that wait about an account go to its new tenant.
_MOVE_NOTICES: Final = """
UPDATE directory.notice n SET tenant_id = ac.tenant_id
FROM json_to_recordset(%s) AS r (before text, after text)
JOIN directory.tenant t ON t.name = r.after
JOIN directory.account ac ON ac.tenant_id = t.id
WHERE n.account_id = ac.id AND n.tenant_id <> ac.tenant_id AND n.sent_at IS NULL AND n.given_up_at IS NULL
"""

# Foreign keys carry the change to addresses and to the former names of addresses and domains.
_RENAME_DOMAINS: Final = """
UPDATE directory.domain d SET name = r.after
FROM json_to_recordset(%s) AS r (before text, after text) WHERE d.name = r.before
"""

_FORMER_DOMAINS: Final = """
INSERT INTO directory.former_domain (name, domain)
SELECT r.before, r.after FROM json_to_recordset(%s) AS r (before text, after text)
"""

_RENAME_DOMAINS_OF_CLOSED: Final = """
UPDATE directory.closed c SET domain = r.after
FROM json_to_recordset(%s) AS r (before text, after text, tenant text)
JOIN directory.tenant t ON t.name = r.tenant
JOIN directory.account ac ON ac.tenant_id = t.id
WHERE c.account_id = ac.id AND c.domain = r.before
"""

# Rewrites targets that no file declares: they would lead nowhere once the old name expires. One domain at a time.
_RENAMED: Final = """ARRAY(
    SELECT CASE split_part(target, '@', 2) WHEN r.before THEN split_part(target, '@', 1) || '@' || r.after
           ELSE target END
    FROM unnest({0}) WITH ORDINALITY AS old (target, place) ORDER BY place)"""

_RENAME_FORWARDS: Final = f"""
UPDATE directory.account ac SET forward_to = {_RENAMED.format("ac.forward_to")}
FROM json_to_recordset(%s) AS r (before text, after text, tenant text)
JOIN directory.tenant t ON t.name = r.tenant
WHERE ac.tenant_id = t.id AND ac.forward_to IS NOT NULL AND ac.forward_applied IS NULL
"""  # noqa: S608 - put together from constants

_RENAME_TARGETS: Final = f"""
UPDATE directory.address ad SET targets = {_RENAMED.format("ad.targets")}
FROM json_to_recordset(%s) AS r (before text, after text, tenant text)
JOIN directory.tenant t ON t.name = r.tenant
JOIN directory.domain d ON d.tenant_id = t.id
WHERE ad.domain = d.name AND ad.kind = 'alias' AND ad.origin <> 'inventory'
"""  # noqa: S608 - put together from constants

_DOMAINS: Final = """
INSERT INTO directory.domain (name, tenant_id, hostnames, catch_all)
SELECT r.name, t.id, r.hostnames, r.catch_all
FROM json_to_recordset(%s) AS r (name text, tenant text, hostnames text[], catch_all text)
JOIN directory.tenant t ON t.name = r.tenant
ON CONFLICT (name) DO UPDATE
    SET tenant_id = excluded.tenant_id, hostnames = excluded.hostnames, catch_all = excluded.catch_all
"""

_HANDOVERS: Final = """
UPDATE directory.address ad SET origin = r.after
FROM json_to_recordset(%s) AS r (tenant text, before text, after text)
JOIN directory.tenant t ON t.name = r.tenant
JOIN directory.domain d ON d.tenant_id = t.id
WHERE ad.domain = d.name AND ad.origin = r.before
"""

_REMOVE_ALIASES: Final = """
DELETE FROM directory.address ad
USING json_to_recordset(%s) AS r (local_part text, domain text)
WHERE ad.local_part = r.local_part AND ad.domain = r.domain AND ad.kind = 'alias'
"""

_CLOSE: Final = """
WITH gone AS (
    DELETE FROM directory.address ad
    USING json_to_recordset(%s) AS r (id bigint, grace bigint)
    WHERE ad.account_id = r.id
    RETURNING ad.account_id, ad.local_part, ad.domain, r.grace
)
INSERT INTO directory.closed (account_id, local_part, domain, expires_at)
SELECT account_id, local_part, domain, now() + make_interval(secs => grace) FROM gone
"""

_FORGET_FORMER_ADDRESSES: Final = """
DELETE FROM directory.former_address f
USING json_to_recordset(%s) AS r (tenant text)
JOIN directory.tenant t ON t.name = r.tenant
JOIN directory.account ac ON ac.tenant_id = t.id
WHERE f.account_id = ac.id AND f.expires_at <= now()
"""

_RENAME: Final = """
WITH renamed AS (
    SELECT r.*, ad.local_part AS before, ad.domain, ad.account_id
    FROM json_to_recordset(%s) AS r (id bigint, local_part text, former bigint)
    JOIN directory.address ad ON ad.account_id = r.id
), former AS (
    INSERT INTO directory.former_address (domain, local_part, account_id, expires_at)
    SELECT domain, before, account_id, now() + make_interval(secs => former) FROM renamed WHERE former > 0
    ON CONFLICT (domain, local_part) DO UPDATE SET account_id = excluded.account_id, expires_at = excluded.expires_at
)
UPDATE directory.address ad SET local_part = renamed.local_part
FROM renamed WHERE ad.account_id = renamed.account_id
"""

_RESTORE: Final = """
WITH back AS (
    DELETE FROM directory.closed c
    USING json_to_recordset(%s) AS r (id bigint, origin text)
    WHERE c.account_id = r.id AND c.expires_at > now()
    RETURNING c.account_id, c.local_part, c.domain, r.origin
)
INSERT INTO directory.address (local_part, domain, kind, account_id, origin)
SELECT local_part, domain, 'account', account_id, origin FROM back
"""

# Only the columns that change: the user may be changing others at the same moment.
_CHANGE: Final = """
UPDATE directory.account ac SET
    state = CASE WHEN f ? 'state' THEN f ->> 'state' ELSE ac.state END,
    quota = CASE WHEN f ? 'quota' THEN (f ->> 'quota')::bigint ELSE ac.quota END,
    password = CASE WHEN f ? 'password' THEN f ->> 'password' ELSE ac.password END,
    password_applied = CASE WHEN f ? 'password_applied' THEN f ->> 'password_applied' ELSE ac.password_applied END,
    password_fingerprint =
        CASE WHEN f ? 'password_fingerprint' THEN f ->> 'password_fingerprint' ELSE ac.password_fingerprint END,
    legacy_secret = CASE WHEN f ? 'legacy_secret' THEN f ->> 'legacy_secret' ELSE ac.legacy_secret END,
    forward_to = CASE WHEN f ? 'forward_to' THEN r.forward_to ELSE ac.forward_to END,
    forward_keep = CASE WHEN f ? 'forward_keep' THEN (f ->> 'forward_keep')::boolean ELSE ac.forward_keep END,
    forward_applied =
        CASE WHEN f ? 'forward_applied' THEN nullif(f -> 'forward_applied', 'null') ELSE ac.forward_applied END,
    autoreply = CASE WHEN f ? 'autoreply' THEN nullif(f -> 'autoreply', 'null') ELSE ac.autoreply END,
    autoreply_applied =
        CASE WHEN f ? 'autoreply_applied' THEN nullif(f -> 'autoreply_applied', 'null') ELSE ac.autoreply_applied END,
    swapped_from = CASE WHEN f ? 'swapped_from' THEN f ->> 'swapped_from' ELSE ac.swapped_from END
FROM json_to_recordset(%s) AS r (id bigint, fields jsonb, forward_to text[]) CROSS JOIN LATERAL (SELECT r.fields AS f) x
WHERE ac.id = r.id
"""

_CREATE: Final = """
WITH new AS (
    SELECT nextval('directory.account_id') AS id, r.*, t.id AS tenant_id
    FROM json_to_recordset(%s) AS r
        (local_part text, domain text, tenant text, origin text, state text, quota bigint, password text,
         password_applied text, password_fingerprint text, legacy_secret text, forward_to text[], forward_keep boolean,
         forward_applied jsonb, autoreply jsonb, autoreply_applied jsonb, swapped_from text)
    JOIN directory.tenant t ON t.name = r.tenant
), account AS (
    INSERT INTO directory.account (id, tenant_id, state, quota, password, password_applied, password_fingerprint,
                                   legacy_secret, forward_to, forward_keep, forward_applied, autoreply,
                                   autoreply_applied, swapped_from)
    SELECT id, tenant_id, state, quota, password, password_applied, password_fingerprint,
           legacy_secret, forward_to, forward_keep, forward_applied, autoreply, autoreply_applied, swapped_from
    FROM new
)
INSERT INTO directory.address (local_part, domain, kind, account_id, origin)
SELECT local_part, domain, 'account', id, origin FROM new
"""

_CHANGE_ALIASES: Final = """
UPDATE directory.address ad SET targets = r.targets
FROM json_to_recordset(%s) AS r (local_part text, domain text, targets text[])
WHERE ad.local_part = r.local_part AND ad.domain = r.domain AND ad.kind = 'alias'
"""

_CREATE_ALIASES: Final = """
INSERT INTO directory.address (local_part, domain, kind, targets, origin)
SELECT r.local_part, r.domain, 'alias', r.targets, r.origin
FROM json_to_recordset(%s) AS r (local_part text, domain text, targets text[], origin text)
"""

_REMOVE_DOMAINS: Final = """
DELETE FROM directory.domain d USING json_to_recordset(%s) AS r (name text) WHERE d.name = r.name
"""

_REMOVE_TENANTS: Final = """
DELETE FROM directory.tenant t USING json_to_recordset(%s) AS r (name text) WHERE t.name = r.name
"""

_REMOVE_PLANS: Final = """
DELETE FROM directory.plan p USING json_to_recordset(%s) AS r (name text) WHERE p.name = r.name
"""

# A secret must not outlive the plan that requires it.
_FORGET_SECRETS: Final = """
UPDATE directory.account ac SET legacy_secret = NULL
FROM json_to_recordset(%s) AS r (tenant text) JOIN directory.tenant t ON t.name = r.tenant
WHERE ac.tenant_id = t.id AND ac.legacy_secret IS NOT NULL
"""

_RELEASE: Final = """
DELETE FROM directory.hold h
USING json_to_recordset(%s) AS r (local_part text, domain text, tenant text, scope text)
LEFT JOIN directory.address ad ON ad.local_part = r.local_part AND ad.domain = r.domain
LEFT JOIN directory.tenant t ON t.name = r.tenant
WHERE h.scope = r.scope AND h.origin <> 'gate' AND (h.account_id = ad.account_id OR h.tenant_id = t.id)
"""

_HOLD: Final = """
INSERT INTO directory.hold (account_id, tenant_id, scope, reason, until, origin)
SELECT ad.account_id, t.id, r.scope, r.reason, to_timestamp(r.until), 'operator'
FROM json_to_recordset(%s) AS r
    (local_part text, domain text, tenant text, scope text, reason text, until bigint)
LEFT JOIN directory.address ad ON ad.local_part = r.local_part AND ad.domain = r.domain
LEFT JOIN directory.tenant t ON t.name = r.tenant
ON CONFLICT (account_id, tenant_id, scope, origin) DO UPDATE SET reason = excluded.reason, until = excluded.until
"""


#: Statements in which one row may change any number of table rows.
OPEN_ENDED: Final = (
    _HANDOVERS,
    _FORGET_SECRETS,
    _FORGET_FORMER_ADDRESSES,
    _MOVE_ACCOUNTS,
    _MOVE_NOTICES,
    _RELEASE,
    _RENAME_DOMAINS_OF_CLOSED,
    _RENAME_FORWARDS,
    _RENAME_TARGETS,
)


def writes(changes: Changes, grace: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(statement, its rows) in an order that satisfies every constraint; `grace` in seconds."""
    origin = changes.origin
    yield (
        _PLANS,
        [{"name": p.name, "settings": p.after, "origin": origin} for p in changes.plans if p.after is not None],
    )
    yield _TENANTS, [tenant.after._asdict() for tenant in changes.tenants if tenant.after]
    yield _FORGET_FORMER_DOMAINS, [{"name": row.name} for row in changes.ended_domains]
    moves = [asdict(move) for move in changes.moved_domains]
    yield _MOVE_DOMAINS, moves
    yield _MOVE_ACCOUNTS, moves
    yield _MOVE_NOTICES, moves
    yield from _renamed_domains(changes)
    resettled = dict.fromkeys([*changes.resettled(), *(move.after for move in changes.moved_domains)])
    yield _FORGET_SECRETS, [{"tenant": name} for name in resettled if not changes.settings.legacy_auth(name)]
    yield _HANDOVERS, [asdict(handover) for handover in changes.handovers]
    yield _REMOVE_ALIASES, [_address(alias) for alias in changes.aliases if alias.targets is None]
    yield _CLOSE, [{"id": change.row.id, "grace": grace} for change in changes.of("close") if change.row]
    yield _DOMAINS, [domain.after._asdict() for domain in changes.domains if domain.after]
    renamed = [change for change in changes.of("change") if change.renamed]
    yield _FORGET_FORMER_ADDRESSES, [{"tenant": name} for name in sorted({change.tenant for change in renamed})]
    yield (
        _RENAME,
        [
            {
                "id": change.row.id,
                "local_part": change.local_part,
                "former": changes.settings.renamed_alias(change.tenant),
            }
            for change in renamed
            if change.row
        ],
    )
    restored = changes.of("restore")
    yield _RESTORE, [{"id": change.row.id, "origin": origin} for change in restored if change.row]
    yield (
        _CHANGE,
        [
            {"id": change.row.id, "fields": change.fields, "forward_to": change.fields.get("forward_to")}
            for change in [*changes.of("change"), *restored]
            if change.fields and change.row
        ],
    )
    yield (
        _CREATE,
        [
            {**_address(change), "tenant": change.tenant, "origin": origin, **change.fields}
            for change in changes.of("create")
        ],
    )
    present = [alias for alias in changes.aliases if alias.targets is not None]
    yield _CHANGE_ALIASES, [{**_address(alias), "targets": alias.targets} for alias in present if alias.before]
    yield (
        _CREATE_ALIASES,
        [{**_address(alias), "targets": alias.targets, "origin": origin} for alias in present if not alias.before],
    )
    yield _REMOVE_DOMAINS, [{"name": domain.name} for domain in changes.domains if not domain.after]
    yield _REMOVE_TENANTS, [{"name": tenant.name} for tenant in changes.tenants if not tenant.after]
    yield _REMOVE_PLANS, [{"name": plan.name} for plan in changes.plans if plan.after is None]
    if changes.holds:
        local_part, _at, domain = (changes.holds.address or "").rpartition("@")
        subject = {"local_part": local_part, "domain": domain, "tenant": changes.holds.tenant}
        yield _RELEASE, [{**subject, "scope": scope} for scope in sorted(changes.holds.release)]
        yield _HOLD, [{**subject, **asdict(hold)} for hold in changes.holds.place]


def _renamed_domains(changes: Changes) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for rename in changes.renamed_domains:
        rows = [asdict(rename)]
        yield _RENAME_DOMAINS, rows
        yield _RENAME_DOMAINS_OF_CLOSED, rows
        yield _RENAME_FORWARDS, rows
        yield _RENAME_TARGETS, rows
        if changes.settings.renamed_domain(rename.tenant):
            yield _FORMER_DOMAINS, rows


def _address(change: AccountChange | Any) -> dict[str, Any]:
    return {"local_part": change.local_part, "domain": change.domain}
