# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions of schema `v1` about notices: they queue them, find what is due, and remember the known quota thresholds.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from typing import Final

_FUNCTIONS: Final = """
-- The present name of a kind: the gate of release 0.1.0 sends former ones until it is restarted.
CREATE FUNCTION v1.present_kind(kind text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE kind WHEN 'mass_mail' THEN 'bulk_mail' WHEN 'unknown_recipients' THEN 'invalid_recipients' ELSE kind END;

-- Queues a notice and wakes its sender. A second one with the same `once`, or for a tenant that is gone, is dropped.
CREATE FUNCTION v1.add_notice(kind text, tenant bigint, account bigint, facts jsonb, once text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO directory.notice (kind, tenant_id, account_id, facts, once)
    SELECT v1.present_kind(add_notice.kind), t.id, ac.id, add_notice.facts, add_notice.once
    FROM (VALUES (add_notice.tenant, add_notice.account)) AS about (tenant_id, account_id)
    LEFT JOIN directory.tenant t ON t.id = about.tenant_id
    LEFT JOIN directory.account ac ON ac.id = about.account_id
    WHERE about.tenant_id IS NULL OR t.id IS NOT NULL
    ON CONFLICT (once) DO NOTHING;
    SELECT pg_notify('mailhosting_notices', '');
END;

-- Warns of infected mail: each account that takes mail or (NULL) the technical contact of its tenant. Each of them gets
-- one warning of a kind an hour at most; a later one waits for that hour to end, and counts those that come meanwhile.
CREATE FUNCTION v1.gate_warn(kind text, tenants bigint[], accounts bigint[], facts jsonb, once text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    person record;
    latest timestamptz;
BEGIN
    FOR person IN
        SELECT DISTINCT t.id AS tenant_id, p.account_id
        FROM unnest(tenants, accounts) AS p (tenant_id, account_id)
        JOIN directory.tenant t ON t.id = p.tenant_id
        WHERE p.account_id IS NULL
        OR EXISTS (SELECT FROM directory.standing s WHERE s.account_id = p.account_id AND s.may_receive)
        ORDER BY 1, 2  -- so that two calls at once do not wait for each other
    LOOP
        PERFORM pg_advisory_xact_lock(hashtextextended(
            concat_ws('/', 'gate_warn', gate_warn.kind, person.tenant_id, person.account_id), 0));
        UPDATE directory.notice n
        SET facts = jsonb_set(n.facts, '{count}', to_jsonb((n.facts ->> 'count')::integer + 1))
        WHERE n.kind = gate_warn.kind AND n.tenant_id = person.tenant_id
        AND n.account_id IS NOT DISTINCT FROM person.account_id
        AND n.sent_at IS NULL AND n.given_up_at IS NULL AND n.attempts = 0 AND n.due_at > now();
        CONTINUE WHEN FOUND;
        SELECT max(n.due_at) INTO latest FROM directory.notice n
        WHERE n.kind = gate_warn.kind AND n.tenant_id = person.tenant_id
        AND n.account_id IS NOT DISTINCT FROM person.account_id AND n.due_at > now() - interval '1 hour';
        INSERT INTO directory.notice (kind, tenant_id, account_id, facts, once, due_at)
        VALUES (gate_warn.kind, person.tenant_id, person.account_id, gate_warn.facts,
                concat_ws('/', gate_warn.once, person.tenant_id, person.account_id),
                greatest(now(), latest + interval '1 hour'))
        ON CONFLICT DO NOTHING;
    END LOOP;
    PERFORM pg_notify('mailhosting_notices', '');
END $$;

-- The highest threshold (percent) that `used` bytes have reached; 0: none, or there is no quota.
CREATE FUNCTION v1.quota_percent(used bigint, quota bigint, thresholds integer[]) RETURNS integer
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    SELECT coalesce(max(t), 0) FROM unnest(thresholds) AS t WHERE quota > 0 AND used * 100.0 >= t * quota::numeric;
END;

-- Takes a report about an account's mailbox: it reached a threshold of the host, fell under one, or holds so many KiB.
-- Queues a notice if the mailbox is now at another threshold of its plan than the last report said.
CREATE FUNCTION v1.note_quota(of_account bigint, is_over integer, is_under integer, kibibytes bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    mailbox record;
    known integer;
    now_at integer;
    number bigint;
    what text;
BEGIN
    SELECT ad.local_part || '@' || ad.domain AS address, ac.tenant_id, coalesce(ac.quota, ts.mailbox_quota, 0) AS quota,
           ts.quota_warnings AS thresholds
    INTO mailbox
    FROM directory.account ac
    JOIN directory.address ad ON ad.account_id = ac.id
    JOIN v1.tenant_settings ts ON ts.tenant_id = ac.tenant_id
    WHERE ac.id = of_account;
    IF NOT FOUND THEN RETURN; END IF;
    -- A mailbox without earlier reports that has reached no threshold needs no row.
    IF is_over IS NOT NULL OR v1.quota_percent(kibibytes * 1024, mailbox.quota, mailbox.thresholds) > 0 THEN
        INSERT INTO directory.quota_level VALUES (of_account, 0, 0) ON CONFLICT DO NOTHING;
    END IF;
    SELECT l.percent, l.changes + 1 INTO known, number
    FROM directory.quota_level l WHERE l.account_id = of_account FOR UPDATE;
    IF NOT FOUND THEN RETURN; END IF;
    -- Two reports of Dovecot may come in either order. Usage is in whole KiB, while Dovecot compared bytes.
    SELECT CASE
        WHEN mailbox.quota = 0 THEN 0
        WHEN is_over IS NOT NULL THEN greatest(known, coalesce(max(t) FILTER (WHERE t <= is_over), 0))
        WHEN is_under IS NOT NULL THEN least(known, coalesce(max(t) FILTER (WHERE t < is_under), 0))
        ELSE least(greatest(known, v1.quota_percent(kibibytes * 1024, mailbox.quota, mailbox.thresholds)),
                   v1.quota_percent(kibibytes * 1024 + 1023, mailbox.quota, mailbox.thresholds))
    END INTO now_at FROM unnest(mailbox.thresholds) AS t;
    IF now_at = known THEN RETURN; END IF;
    UPDATE directory.quota_level l SET percent = now_at, changes = number WHERE l.account_id = of_account;
    IF now_at > known THEN
        what := CASE WHEN now_at >= 100 THEN 'quota_exceeded' ELSE 'quota_warning' END;
    ELSIF mailbox.quota > 0 AND known = ANY (mailbox.thresholds) THEN
        what := 'quota_under';
        SELECT min(t) INTO now_at FROM unnest(mailbox.thresholds) AS t WHERE t > now_at;
    ELSE
        -- The threshold is gone from the plan: the mailbox crossed none.
        RETURN;
    END IF;
    -- Notices arrive whatever the quota, so their reader could cross a threshold without end: 24 a day at most.
    IF (SELECT count(*) FROM directory.notice n
        WHERE n.account_id = of_account AND n.kind LIKE 'quota%' AND n.created_at > now() - interval '1 day') >= 24
    THEN RETURN; END IF;
    PERFORM v1.add_notice(
        what, mailbox.tenant_id, of_account,
        jsonb_build_object('account', mailbox.address, 'percent', now_at, 'quota', mailbox.quota),
        'quota/' || of_account || '/' || number);
END $$;

-- Dovecot's report when mail comes or is removed; `direction`: over or under.
CREATE FUNCTION v1.record_crossing(of_local_part text, of_domain text, direction text, percent integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT v1.note_quota(ad.account_id, CASE direction WHEN 'over' THEN percent END,
                         CASE direction WHEN 'under' THEN percent END, NULL)
    FROM directory.address ad
    WHERE ad.local_part = of_local_part AND ad.domain = of_domain AND ad.account_id IS NOT NULL;
END;

-- Accounts whose quota or thresholds have changed since the last comparison with their usage.
CREATE FUNCTION v1.quota_rechecks() RETURNS TABLE (username text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT ad.local_part || '@' || ad.domain
    FROM directory.quota_recheck r
    JOIN directory.address ad ON ad.account_id = r.account_id;
END;

-- `usage`: KiB in use by username.
CREATE FUNCTION v1.compare_quotas(usage jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT v1.note_quota(ad.account_id, NULL, NULL, u.value::bigint)
    FROM jsonb_each_text(usage) u
    JOIN directory.address ad
        ON ad.local_part = split_part(u.key, '@', 1) AND ad.domain = split_part(u.key, '@', 2)
    WHERE ad.account_id IS NOT NULL;
    DELETE FROM directory.quota_recheck r USING directory.address ad, jsonb_each_text(usage) u
    WHERE r.account_id = ad.account_id
    AND ad.local_part = split_part(u.key, '@', 1) AND ad.domain = split_part(u.key, '@', 2);
END;

-- Notices that are due. `account`: its address, if it takes mail. `direct`: the contact is a mailbox here that forwards
-- nothing. `unread`: the contact's mail reaches no mailbox that allows a login. Both addresses carry the mark of their
-- present holder, for Dovecot: a name may have had another holder.
CREATE FUNCTION v1.due_notices()
RETURNS TABLE (id bigint, kind text, facts jsonb, attempts integer, seconds integer, reached text[],
               tenant text, language text, account text, contact text, direct boolean, unread boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT n.id, n.kind, n.facts || jsonb_strip_nulls(jsonb_build_object('account', (
               SELECT ad.local_part || '@' || ad.domain FROM directory.address ad WHERE ad.account_id = n.account_id))),
           n.attempts, extract(epoch FROM now() - n.created_at)::integer, n.reached,
           t.name, t.language,
           (SELECT s.local_part || '@' || q.marked_domain FROM directory.standing s
            JOIN v1.queued_mailbox q ON q.local_part = s.local_part AND q.domain = s.domain
            WHERE s.account_id = n.account_id AND s.may_receive),
           CASE WHEN c.takes_mail THEN
               coalesce(split_part(c.address, '@', 1) || '@' || direct.domain, c.address) END,
           direct.domain IS NOT NULL,
           coalesce(NOT c.is_read, false)
    FROM directory.notice n
    LEFT JOIN directory.tenant t ON t.id = n.tenant_id
    LEFT JOIN LATERAL directory.contact(n.tenant_id) c ON c.name = 'technical'
    LEFT JOIN LATERAL (
        SELECT q.marked_domain AS domain
        FROM directory.standing s
        JOIN v1.queued_mailbox q ON q.local_part = s.local_part AND q.domain = s.domain
        WHERE s.local_part = split_part(split_part(c.address, '@', 1), '+', 1)
        AND s.domain = split_part(c.address, '@', 2)
        AND s.may_receive AND q.plain) AS direct ON true
    WHERE n.sent_at IS NULL AND n.given_up_at IS NULL AND n.due_at <= now()
    ORDER BY n.due_at, n.id
    LIMIT 100;
END;

-- Seconds until the next notice is due; NULL: none waits.
CREATE FUNCTION v1.next_notice() RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT extract(epoch FROM min(greatest(n.due_at, now())) - now())::double precision
    FROM directory.notice n WHERE n.sent_at IS NULL AND n.given_up_at IS NULL;
END;

CREATE FUNCTION v1.notice_reached(notice bigint, address text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE directory.notice n SET reached = n.reached || notice_reached.address WHERE n.id = notice_reached.notice;
END;

CREATE FUNCTION v1.notice_put_off(notice bigint, seconds integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE directory.notice n
    SET attempts = n.attempts + 1, due_at = now() + make_interval(secs => notice_put_off.seconds)
    WHERE n.id = notice_put_off.notice;
END;

CREATE FUNCTION v1.notice_ended(notice bigint, sent boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE directory.notice n
    SET sent_at = CASE WHEN notice_ended.sent THEN now() END,
        given_up_at = CASE WHEN NOT notice_ended.sent THEN now() END
    WHERE n.id = notice_ended.notice;
END;

-- Removes notices that ended more than `days` ago; returns their number.
CREATE FUNCTION v1.forget_notices(days integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH gone AS (
        DELETE FROM directory.notice n
        WHERE coalesce(n.sent_at, n.given_up_at) < now() - make_interval(days => forget_notices.days)
        RETURNING n.id)
    SELECT count(*) FROM gone;
END;

GRANT EXECUTE ON FUNCTION v1.add_notice, v1.gate_warn TO "mailhosting-gate";
GRANT EXECUTE ON FUNCTION v1.record_crossing, v1.quota_rechecks, v1.compare_quotas TO vmail;
GRANT EXECUTE ON FUNCTION v1.due_notices, v1.next_notice, v1.notice_reached, v1.notice_put_off,
    v1.notice_ended, v1.forget_notices TO "mailhosting-notices";
"""


def text() -> str:
    """The SQL that creates the functions and grants them to their callers."""
    return _FUNCTIONS
