# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions of schema `v1` for the gate: who owns a mail, where it is delivered, what the tenant's plan allows.

PRIVATE to the collection: it can have breaking changes at any time.

The gate may read no view and no table.  Each function answers one question with the rights of its owner.
"""

from __future__ import annotations

from typing import Final

from .lookups import PLANNING

#: The database role, and the operating system user that the gate runs as.
USER: Final = "mailhosting-gate"

# As for the daemons' lookups: one plan that suits a large directory, kept for the life of the connection.
_QUESTION: Final = f"LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp\n{PLANNING}"

#: Whether account `ac` forwards nothing: it has no forward, or a hold suspends it.
KEEPS_ALL: Final = (
    "(ac.forward_to IS NULL OR EXISTS ("
    "SELECT FROM directory.suspension u WHERE u.account_id = ac.id AND u.scope = 'forward'))"
)

# Mailboxes that keep the mail they receive; `alone`: the account forwards nothing.
_VIEWS: Final = f"""
CREATE VIEW directory.keeper AS
SELECT s.local_part, s.domain, s.account_id, s.tenant_id, coalesce(ac.quota, ts.mailbox_quota, 0) AS quota,
       {KEEPS_ALL} AS alone
FROM directory.standing s
JOIN directory.account ac ON ac.id = s.account_id
JOIN v1.tenant_settings ts ON ts.tenant_id = s.tenant_id
WHERE s.may_receive AND (ac.forward_keep OR {KEEPS_ALL});
"""  # noqa: S608 - a constant

_FUNCTIONS: Final = """
-- The owner of an address: its tenant, and its account if it is one, with its rights to send and to log in. `held` is
-- the reason if the gate holds the account. Logins before `login_since` (seconds since 1970) do not count.
CREATE FUNCTION v1.gate_owner(of_local_part text, of_domain text)
RETURNS TABLE (account_id bigint, tenant_id bigint, username text, may_send boolean, held text, may_login boolean,
               protocols text[], login_since double precision)
{question} AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT s.account_id, d.tenant_id,
        CASE WHEN s.account_id IS NOT NULL THEN s.local_part || '@' || s.domain END,
        s.account_id IS NOT NULL AND s.may_send, h.reason, coalesce(s.may_login, false), ts.protocols,
        extract(epoch FROM ac.login_since)::double precision
    FROM directory.domain d
    JOIN v1.tenant_settings ts ON ts.tenant_id = d.tenant_id
    LEFT JOIN directory.standing s ON s.domain = d.name AND s.local_part = of_local_part
    LEFT JOIN directory.account ac ON ac.id = s.account_id
    LEFT JOIN directory.hold h ON h.account_id = s.account_id AND h.scope = 'send' AND h.origin = 'gate'
    WHERE d.name = of_domain;
END $$;

-- Where mail for an address is delivered: mailboxes, and external addresses with the account and tenant that forward
-- to them. Follows at most `most` addresses a level, and as many levels as Postfix (virtual_alias_recursion_limit).
CREATE FUNCTION v1.gate_destinations(of_local_part text, of_domain text, most integer)
RETURNS TABLE (account_id bigint, tenant_id bigint, username text, quota bigint, target text)
{question} AS $$
#variable_conflict use_column
DECLARE
    addresses text[];
    accounts bigint[] := ARRAY[NULL]::bigint[];
    tenants bigint[] := ARRAY[NULL]::bigint[];
    seen text[] := ARRAY[]::text[];
BEGIN
    -- The usual case: a mailbox without a forward.
    RETURN QUERY SELECT k.account_id, k.tenant_id, k.local_part || '@' || k.domain, k.quota, NULL::text
    FROM directory.keeper k WHERE k.local_part = of_local_part AND k.domain = of_domain AND k.alone;
    IF FOUND THEN RETURN; END IF;
    PERFORM FROM v1.domain d WHERE d.domain = of_domain UNION ALL
    SELECT FROM directory.domain d WHERE d.name = of_domain;
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::bigint, NULL::bigint, NULL::text, NULL::bigint, of_local_part || '@' || of_domain;
        RETURN;
    END IF;
    -- Follow our addresses without extension and by the present name of their domain, so that each is met once.
    SELECT ARRAY[split_part(of_local_part, '+', 1) || '@' || coalesce(max(f.renamed_to), of_domain)] INTO addresses
    FROM v1.former_domain f WHERE f.domain = of_domain;
    FOR level IN 1..1001 LOOP
        RETURN QUERY SELECT DISTINCT ON (f.address) f.account, f.tenant, NULL::text, NULL::bigint, f.address
        FROM unnest(addresses, accounts, tenants) AS f (address, account, tenant)
        -- An address without a domain is the host's own postmaster.
        WHERE strpos(f.address, '@') > 0 AND NOT EXISTS (
            -- OFFSET 0 keeps the planner from reading every domain for a join.
            SELECT FROM v1.domain d WHERE d.domain = split_part(f.address, '@', 2) OFFSET 0);

        RETURN QUERY SELECT DISTINCT k.account_id, k.tenant_id, k.local_part || '@' || k.domain, k.quota, NULL::text
        FROM unnest(addresses) AS f (address)
        CROSS JOIN LATERAL (
            SELECT * FROM directory.keeper k WHERE k.local_part = split_part(f.address, '@', 1)
            AND k.domain = split_part(f.address, '@', 2) OFFSET 0) AS k;

        seen := seen || addresses;
        SELECT array_agg(n.address), array_agg(n.account), array_agg(n.tenant) INTO addresses, accounts, tenants
        FROM (
            SELECT DISTINCT ON (present.address) present.address, go.account, d.tenant_id AS tenant
            FROM unnest(addresses) AS f (address)
            CROSS JOIN LATERAL (VALUES (
                split_part(f.address, '@', 1), split_part(f.address, '@', 2))) AS at (local_part, domain)
            JOIN directory.domain d ON d.name = at.domain
            CROSS JOIN LATERAL (
                SELECT a.target,
                    (SELECT ad.account_id FROM directory.address ad
                     WHERE ad.local_part = at.local_part AND ad.domain = at.domain) AS account
                FROM v1.alias a WHERE a.local_part = at.local_part AND a.domain = at.domain
                UNION ALL
                SELECT m.target, NULL FROM v1.all_member m
                WHERE m.local_part = at.local_part AND m.domain = at.domain
                UNION ALL
                SELECT c.target, NULL FROM v1.catch_all c WHERE c.domain = at.domain
                AND NOT EXISTS (SELECT FROM directory.standing s
                                WHERE s.local_part = at.local_part AND s.domain = at.domain)
                AND NOT EXISTS (SELECT FROM directory.undeclared u
                                WHERE u.local_part = at.local_part AND u.domain = at.domain)
                AND NOT EXISTS (SELECT FROM v1.all_member m
                                WHERE m.local_part = at.local_part AND m.domain = at.domain)
            ) AS go
            CROSS JOIN LATERAL (SELECT coalesce(
                (SELECT split_part(split_part(go.target, '@', 1), '+', 1) || '@' || ours.name FROM directory.domain ours
                 WHERE ours.name = coalesce(
                     (SELECT f.renamed_to FROM v1.former_domain f WHERE f.domain = split_part(go.target, '@', 2)),
                     split_part(go.target, '@', 2))),
                go.target) AS address) AS present
            WHERE present.address <> ALL (seen)
            LIMIT most
        ) AS n;
        EXIT WHEN addresses IS NULL;
    END LOOP;
END $$;

-- The settings of a tenant's plan that the gate applies, as the model has them.
CREATE FUNCTION v1.gate_tenant(of_tenant bigint) RETURNS TABLE (name text, settings jsonb)
{question} AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT ts.tenant, jsonb_build_object(
        'max_message_size', ts.max_message_size,
        'tenant_quota', ts.tenant_quota,
        'send_limits', ts.send_limits,
        'receive_limits', ts.receive_limits,
        'account_send_limits', ts.account_send_limits,
        'bulk_mail', ts.bulk_mail,
        'virus', ts.virus,
        -- The gate of release 0.1.0 asks for these names until it is restarted.
        'mass_mail', ts.bulk_mail || jsonb_build_object(
            'same_content', ts.bulk_mail -> 'recipients_per_content',
            'same_content_received', ts.bulk_mail -> 'recipients_per_content_received',
            'unknown_recipients', ts.bulk_mail -> 'invalid_recipients'))
    FROM v1.tenant_settings ts WHERE ts.tenant_id = of_tenant;
END $$;

-- The addresses in Postfix's queue, which no lookup expands, of those of these accounts that take mail.
CREATE FUNCTION v1.gate_queued(accounts bigint[]) RETURNS TABLE (address text)
{question} AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT q.address
    FROM directory.standing s
    JOIN v1.queued_mailbox q ON q.local_part = s.local_part AND q.domain = s.domain
    WHERE s.account_id = ANY (accounts) AND s.may_receive
    ORDER BY q.address;
END $$;

-- A tenant's mailboxes: the tenant's pool is the sum of their usage.
CREATE FUNCTION v1.gate_mailboxes(of_tenant bigint) RETURNS TABLE (account_id bigint, username text)
{question} AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT ac.id, ad.local_part || '@' || ad.domain
    FROM directory.account ac
    JOIN directory.address ad ON ad.account_id = ac.id
    WHERE ac.tenant_id = of_tenant;
END $$;
"""

_HOLDS: Final = """
-- Holds what an account sends until an operator decides, and queues a notice. Does nothing if the gate holds it
-- already.
CREATE FUNCTION v1.gate_stop(of_account bigint, kind text, facts jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number bigint;
    tenant bigint;
BEGIN
    SELECT ac.tenant_id INTO tenant FROM directory.account ac WHERE ac.id = of_account;
    IF NOT FOUND THEN RETURN; END IF;
    INSERT INTO directory.hold (account_id, scope, reason, origin)
    VALUES (of_account, 'send', v1.present_kind(gate_stop.kind), 'gate')
    ON CONFLICT (account_id, tenant_id, scope, origin) DO NOTHING RETURNING id INTO number;
    IF number IS NOT NULL THEN
        PERFORM v1.add_notice(gate_stop.kind, tenant, of_account, facts, 'hold/' || number);
    END IF;
END $$;

-- Records a mail that Postfix's queue holds: an account's, or one for a tenant. `at` is in seconds since 1970.
CREATE FUNCTION v1.gate_keep(queue_id text, of_account bigint, of_tenant bigint, kind text, at double precision)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO directory.held_mail (queue_id, account_id, tenant_id, kind, held_at)
    VALUES (gate_keep.queue_id, of_account, of_tenant, v1.present_kind(gate_keep.kind), to_timestamp(at))
    ON CONFLICT (queue_id) DO UPDATE SET account_id = excluded.account_id, tenant_id = excluded.tenant_id,
        kind = excluded.kind, held_at = excluded.held_at;
END;

-- For the operator's command, which runs as the owner of the tables.
CREATE VIEW v1.gate_hold AS
SELECT h.account_id, h.reason AS kind, extract(epoch FROM h.created_at)::bigint AS since
FROM directory.hold h WHERE h.scope = 'send' AND h.origin = 'gate';

CREATE VIEW v1.held_mail AS
SELECT m.queue_id, m.account_id, m.tenant_id, m.kind, extract(epoch FROM m.held_at)::double precision AS held_at
FROM directory.held_mail m;

CREATE FUNCTION v1.gate_release(of_account bigint) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    DELETE FROM directory.hold h WHERE h.account_id = of_account AND h.scope = 'send' AND h.origin = 'gate';
END;

-- Mail that the queue holds no more. A later mail with the same queue id stays.
CREATE FUNCTION v1.forget_held_mail(queue_ids text[], held_at double precision[]) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    DELETE FROM directory.held_mail m
    USING unnest(forget_held_mail.queue_ids, forget_held_mail.held_at) AS gone (queue_id, held_at)
    WHERE m.queue_id = gone.queue_id AND extract(epoch FROM m.held_at)::double precision <= gone.held_at;
END;
"""

_NAMES: Final = (
    "gate_owner",
    "gate_destinations",
    "gate_tenant",
    "gate_queued",
    "gate_mailboxes",
    "gate_stop",
    "gate_keep",
)


def text() -> str:
    """The SQL that creates the functions, after the daemons' views, and grants them to the gate."""
    called = ", ".join(f"v1.{name}" for name in _NAMES)
    functions = _FUNCTIONS.format(question=_QUESTION)
    return f'{_VIEWS}{functions}{_HOLDS}GRANT EXECUTE ON FUNCTION {called}, v1.relay_logins TO "{USER}";\n'
