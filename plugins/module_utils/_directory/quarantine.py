# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions of schema `v1` about mail in quarantine, and about names of viruses that hit too many tenants at once.

PRIVATE to the collection: it can have breaking changes at any time.

The gate may read no table: it records what it keeps, and learns which files nobody needs any more.  Operators list,
release and drop through the command `mailhosting`, as the owner of the tables.
"""

from __future__ import annotations

from typing import Final

from .gate import USER

_FUNCTIONS: Final = """
-- Records an original and for whom it is kept; removes the oldest ones, so that all have `most` octets at most.
-- `facts` are columns of the table. Each of `holders` has account_id or else tenant_id, recipient, and seconds.
-- Returns an id for each holder who is still here, in their order, and the files that are not needed any more.
CREATE FUNCTION v1.quarantine_keep(of_file text, octets bigint, facts jsonb, holders jsonb, most bigint)
RETURNS TABLE (ids bigint[], removed text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    -- Two at once must not both count on the same room.
    LOCK TABLE directory.quarantined_mail IN SHARE ROW EXCLUSIVE MODE;
    WITH sizes AS (
        SELECT m.file, sum(m.octets) OVER (ORDER BY m.kept_at DESC, m.file) AS so_far FROM directory.quarantined_mail m
    ), gone AS (
        DELETE FROM directory.quarantined_mail m USING sizes s
        WHERE s.file = m.file AND s.so_far > quarantine_keep.most - quarantine_keep.octets
        RETURNING m.file
    )
    SELECT coalesce(array_agg(g.file), '{}') INTO removed FROM gone g;
    INSERT INTO directory.quarantined_mail (file, octets, queue_id, direction, sender, subject, policy, findings)
    VALUES (of_file, quarantine_keep.octets, facts ->> 'queue_id', facts ->> 'direction', facts ->> 'sender',
            facts ->> 'subject', facts ->> 'policy', facts -> 'findings');
    WITH made AS (
        INSERT INTO directory.quarantine (file, account_id, tenant_id, recipient, expires_at)
        SELECT of_file, ac.id, CASE WHEN ac.id IS NULL THEN t.id END, h.recipient,
               now() + make_interval(secs => h.seconds)
        FROM ROWS FROM (
            jsonb_to_recordset(holders) AS (account_id bigint, tenant_id bigint, recipient text, seconds bigint)
        ) WITH ORDINALITY AS h (account_id, tenant_id, recipient, seconds, number)
        LEFT JOIN directory.account ac ON ac.id = h.account_id
        LEFT JOIN directory.tenant t ON t.id = h.tenant_id AND h.account_id IS NULL
        WHERE ac.id IS NOT NULL OR t.id IS NOT NULL
        ORDER BY h.number
        RETURNING id
    )
    SELECT coalesce(array_agg(m.id ORDER BY m.id), '{}') INTO ids FROM made m;
    IF ids = '{}' THEN
        DELETE FROM directory.quarantined_mail m WHERE m.file = of_file;
        removed := removed || of_file;
    END IF;
    RETURN NEXT;
END $$;

-- Forgets these entries; returns the files that nobody's entry names any more.
CREATE FUNCTION v1.quarantine_drop(of_ids bigint[]) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM directory.quarantine q WHERE q.id = ANY (of_ids);
    RETURN QUERY DELETE FROM directory.quarantined_mail m
    WHERE NOT EXISTS (SELECT FROM directory.quarantine q WHERE q.file = m.file) RETURNING m.file;
END $$;

-- Forgets what has expired, and what was for accounts that are gone. Returns all files, and which of them have gone.
CREATE FUNCTION v1.quarantine_sweep() RETURNS TABLE (file text, gone boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT dropped.name, true FROM v1.quarantine_drop(ARRAY(
        SELECT q.id FROM directory.quarantine q WHERE q.expires_at <= now())) AS dropped (name);
    RETURN QUERY SELECT m.file, false FROM directory.quarantined_mail m;
END $$;

-- For the operator's command, which runs as the owner of the tables. `mailbox`: the account's address with the mark of
-- its holder, for Dovecot, if the account takes mail. `address` is its last one if it is closed.
CREATE VIEW v1.quarantine AS
SELECT q.id, m.file, extract(epoch FROM m.kept_at)::bigint AS kept_at,
       extract(epoch FROM q.expires_at)::bigint AS expires_at, m.octets, m.queue_id, m.direction, m.sender, q.recipient,
       m.subject, m.policy, m.findings, t.id AS tenant_id, t.name AS tenant, q.account_id,
       coalesce(ad.local_part || '@' || ad.domain, c.local_part || '@' || c.domain) AS address,
       (SELECT s.local_part || '@' || u.marked_domain FROM directory.standing s
        JOIN v1.queued_mailbox u ON u.local_part = s.local_part AND u.domain = s.domain
        WHERE s.account_id = q.account_id AND s.may_receive) AS mailbox
FROM directory.quarantine q
JOIN directory.quarantined_mail m ON m.file = q.file
LEFT JOIN directory.account ac ON ac.id = q.account_id
JOIN directory.tenant t ON t.id = coalesce(q.tenant_id, ac.tenant_id)
LEFT JOIN directory.address ad ON ad.account_id = q.account_id
LEFT JOIN directory.closed c ON c.account_id = q.account_id
WHERE q.expires_at > now();

-- What is done about mail with a virus of this name: NULL is the usual, as each tenant's policy says.
CREATE FUNCTION v1.virus_verdict(of_name text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT v.verdict FROM directory.virus_name v WHERE v.name = of_name;
END;

-- Defers mail with a virus of this name until an operator decides, and queues one notice to the operator. Returns the
-- verdict, which may have been there before.
CREATE FUNCTION v1.virus_suspect(of_name text, tenants integer) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    began timestamptz;
BEGIN
    INSERT INTO directory.virus_name (name, verdict) VALUES (of_name, 'deferred')
    ON CONFLICT (name) DO NOTHING RETURNING since INTO began;
    IF began IS NOT NULL THEN
        PERFORM v1.add_notice('virus_outbreak', NULL, NULL, jsonb_build_object('virus', of_name, 'count', tenants),
                              'virus/' || of_name || '/' || extract(epoch FROM began)::bigint);
    END IF;
    RETURN v1.virus_verdict(of_name);
END $$;

CREATE VIEW v1.virus_name AS
SELECT v.name, v.verdict, extract(epoch FROM v.since)::bigint AS since FROM directory.virus_name v;

-- The operator's decision; returns whether it is another one than before.
CREATE FUNCTION v1.virus_decide(of_name text, of_verdict text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO directory.virus_name AS v (name, verdict) VALUES (of_name, of_verdict)
    ON CONFLICT (name) DO UPDATE SET verdict = excluded.verdict, since = excluded.since
    WHERE v.verdict <> excluded.verdict;
    RETURN FOUND;
END $$;
"""

_NAMES: Final = ("quarantine_keep", "quarantine_drop", "quarantine_sweep", "virus_verdict", "virus_suspect")


def text() -> str:
    """The SQL that creates views and functions, after those of the gate, and grants the functions to the gate."""
    called = ", ".join(f"v1.{name}" for name in _NAMES)
    return f'{_FUNCTIONS}GRANT EXECUTE ON FUNCTION {called} TO "{USER}";\n'
