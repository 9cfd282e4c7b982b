# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate asks of the directory: whose mail it is, where it ends, and what the tenant's plan allows.

PRIVATE to the collection: it can have breaking changes at any time.

The gate sees no view and no table: each function answers one question, with its owner's rights.
"""

from __future__ import annotations

from typing import Final

#: The database role, and the operating system user that the gate runs as.
USER: Final = "mailhosting-gate"

# As for the daemons' lookups: one plan, good for a large directory, kept by the connection.
_QUESTION: Final = """LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off"""

# A mailbox that keeps mail, and an address whose mail goes on. Neither is what may not receive.
_VIEWS: Final = """
CREATE VIEW directory.keeper AS
SELECT s.local_part, s.domain, s.account_id, s.tenant_id, coalesce(ac.quota, ts.mailbox_quota, 0) AS quota
FROM directory.standing s
JOIN directory.account ac ON ac.id = s.account_id
JOIN v1.tenant_settings ts ON ts.tenant_id = s.tenant_id
WHERE s.may_receive AND (ac.forward_to IS NULL OR ac.forward_keep);
"""

_FUNCTIONS: Final = """
-- Who an address of ours belongs to: its account if it is one, which may send or not, and its tenant.
CREATE FUNCTION v1.gate_owner(of_local_part text, of_domain text)
RETURNS TABLE (account_id bigint, tenant_id bigint, username text, may_send boolean)
{question} AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT s.account_id, d.tenant_id,
        CASE WHEN s.account_id IS NOT NULL THEN s.local_part || '@' || s.domain END,
        s.account_id IS NOT NULL AND s.may_send
    FROM directory.domain d
    LEFT JOIN directory.standing s ON s.domain = d.name AND s.local_part = of_local_part
    WHERE d.name = of_domain;
END $$;

-- Where mail for an address ends: mailboxes, and addresses elsewhere with the account and tenant that send it there.
-- At most `most` addresses a level are followed, and as many levels as Postfix follows (virtual_alias_recursion_limit).
CREATE FUNCTION v1.gate_destinations(of_local_part text, of_domain text, most integer)
RETURNS TABLE (account_id bigint, tenant_id bigint, username text, quota bigint, target text)
{question} AS $$
#variable_conflict use_column
DECLARE
    addresses text[] := ARRAY[of_local_part || '@' || of_domain];
    accounts bigint[] := ARRAY[NULL]::bigint[];
    tenants bigint[] := ARRAY[NULL]::bigint[];
    seen text[] := ARRAY[]::text[];
BEGIN
    PERFORM FROM v1.plain_mailbox p WHERE p.local_part = of_local_part AND p.domain = of_domain;
    IF FOUND THEN
        RETURN QUERY SELECT k.account_id, k.tenant_id, k.local_part || '@' || k.domain, k.quota, NULL::text
        FROM directory.keeper k WHERE k.local_part = of_local_part AND k.domain = of_domain;
        RETURN;
    END IF;
    PERFORM FROM v1.domain d WHERE d.domain = of_domain UNION ALL
    SELECT FROM directory.domain d WHERE d.name = of_domain;
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::bigint, NULL::bigint, NULL::text, NULL::bigint, addresses[1];
        RETURN;
    END IF;
    FOR level IN 1..1001 LOOP
        RETURN QUERY SELECT DISTINCT ON (f.address) f.account, f.tenant, NULL::text, NULL::bigint, f.address
        FROM unnest(addresses, accounts, tenants) AS f (address, account, tenant)
        WHERE NOT EXISTS (SELECT FROM v1.domain d WHERE d.domain = split_part(f.address, '@', 2));

        RETURN QUERY SELECT DISTINCT k.account_id, k.tenant_id, k.local_part || '@' || k.domain, k.quota, NULL::text
        FROM unnest(addresses) AS f (address)
        CROSS JOIN LATERAL (
            SELECT * FROM directory.keeper k WHERE k.local_part = split_part(split_part(f.address, '@', 1), '+', 1)
            AND k.domain = split_part(f.address, '@', 2) OFFSET 0) AS k;

        seen := seen || addresses;
        SELECT array_agg(n.address), array_agg(n.account), array_agg(n.tenant) INTO addresses, accounts, tenants
        FROM (
            SELECT DISTINCT ON (go.target) go.target AS address, go.account, d.tenant_id AS tenant
            FROM unnest(addresses) AS f (address)
            CROSS JOIN LATERAL (VALUES (
                split_part(split_part(f.address, '@', 1), '+', 1), split_part(f.address, '@', 2)
            )) AS at (local_part, domain)
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
            WHERE go.target <> ALL (seen)
            LIMIT most
        ) AS n;
        EXIT WHEN addresses IS NULL;
    END LOOP;
END $$;

-- What a tenant's plan says to the gate, as it is written in the model.
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
        'mass_mail', ts.mass_mail)
    FROM v1.tenant_settings ts WHERE ts.tenant_id = of_tenant;
END $$;

-- A tenant's mailboxes: what its pool is the sum of.
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

_NAMES: Final = ("gate_owner", "gate_destinations", "gate_tenant", "gate_mailboxes")


def text() -> str:
    """The SQL that makes the functions, after the daemons' views, and lets the gate call them."""
    called = ", ".join(f"v1.{name}" for name in _NAMES)
    functions = _FUNCTIONS.format(question=_QUESTION)
    return f'{_VIEWS}{functions}GRANT EXECUTE ON FUNCTION {called}, v1.relay_logins TO "{USER}";\n'
