# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions and queries for what tenants use and what is billed.

PRIVATE to the collection: it can have breaking changes at any time.

Valkey counts a day and may lose its data; sums in the directory never shrink.  So the directory remembers the counters
it read last and the epoch of that Valkey data.  In the same epoch it adds the difference, and nothing for a counter
that went down.  In a new epoch it adds the whole counter.
"""

from __future__ import annotations

from typing import Final

from .rules_of_items import FREE_LOCAL_PARTS

#: Columns of directory.usage_day, and fields of a day's counters in Valkey.
COUNTERS: Final = (
    *(
        f"{direction}_{what}"
        for direction in ("sent", "received")
        for what in ("messages", "recipients", "bytes", "refused")
    ),
    *(f"virus_{what}" for what in ("found", "stripped", "deleted", "refused")),
)

#: Rows of one tenant or (NULL) all, from a first to a last day: a JSON object each.
DAYS: Final = f"""
SELECT coalesce(json_agg(r ORDER BY r.day, r.tenant), '[]')::text
FROM (
    SELECT day, tenant, addresses, billed, bytes, peak_bytes, {", ".join(COUNTERS)}
    FROM directory.usage_day
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND day BETWEEN %(first)s AND %(last)s) r
"""  # noqa: S608 - put together from constants

#: What one tenant or (NULL) all have now: a JSON object each, by name.
NOW: Final = """
SELECT coalesce(json_object_agg(r.tenant, to_jsonb(r) - 'tenant'), '{}')::text
FROM (
    SELECT b.tenant, b.addresses, b.billed, coalesce(used.accounts, 0) AS accounts, used.bytes, used.quota,
           ts.tenant_quota AS pool
    FROM directory.billing b
    JOIN v1.tenant_settings ts ON ts.tenant_id = b.tenant_id
    LEFT JOIN (
        SELECT a.tenant_id, count(*) AS accounts, sum(n.bytes)::bigint AS bytes,
               CASE WHEN bool_and(u.quota_storage_size > 0) THEN sum(u.quota_storage_size)::bigint END AS quota
        FROM v1.usage_account a
        JOIN v1.userdb u ON u.username = a.username
        LEFT JOIN directory.usage_now n ON n.account_id = a.account_id
        GROUP BY a.tenant_id) used ON used.tenant_id = b.tenant_id
    WHERE %(tenant)s::text IS NULL OR b.tenant = %(tenant)s) r
"""

#: Bytes in use by account id, of accounts that have an address.
USED: Final = """
SELECT coalesce(json_object_agg(n.account_id, n.bytes), '{}')::text
FROM directory.usage_now n
JOIN directory.address ad ON ad.account_id = n.account_id
"""

_SQL: Final = """
-- Addresses that count for bills (VM-5): accounts and aliases, suspended ones too.
CREATE VIEW directory.billing AS
SELECT ts.tenant_id, ts.tenant, a.addresses,
       (ceil(a.addresses::numeric / s.step) * s.step)::integer AS billed
FROM v1.tenant_settings ts
CROSS JOIN LATERAL (
    SELECT count(*)::integer AS addresses
    FROM directory.domain d
    JOIN directory.address ad ON ad.domain = d.name
    WHERE d.tenant_id = ts.tenant_id AND ad.kind IN ('account', 'alias') AND ad.local_part NOT IN (%(free)s)) a
CROSS JOIN LATERAL (SELECT coalesce(ts.billing_step, 1) AS step) s;

-- of_bytes: bytes by account id.
CREATE FUNCTION v1.record_usage(of_bytes jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO directory.usage_now AS u (account_id, bytes)
    SELECT ac.id, n.value::bigint
    FROM jsonb_each_text(of_bytes) n
    JOIN directory.account ac ON ac.id = n.key::bigint
    ON CONFLICT (account_id) DO UPDATE SET bytes = excluded.bytes WHERE u.bytes <> excluded.bytes;
END;

-- Every tenant's row of a day: addresses that count, bytes in use.
CREATE FUNCTION v1.record_day(of_day date) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO directory.usage_day AS u (day, tenant, addresses, billed, bytes, peak_bytes)
    SELECT of_day, b.tenant, b.addresses, b.billed, used.bytes, used.bytes
    FROM directory.billing b
    LEFT JOIN (
        SELECT a.tenant_id, sum(n.bytes)::bigint AS bytes
        FROM v1.usage_account a
        JOIN directory.usage_now n ON n.account_id = a.account_id
        GROUP BY a.tenant_id) used ON used.tenant_id = b.tenant_id
    ON CONFLICT (day, tenant) DO UPDATE SET
        addresses = excluded.addresses, billed = excluded.billed,
        bytes = excluded.bytes, peak_bytes = greatest(u.peak_bytes, excluded.peak_bytes)
    WHERE (u.addresses, u.billed, u.bytes) IS DISTINCT FROM
        (excluded.addresses, excluded.billed, excluded.bytes);
END;

-- of_counters: a day's counters by tenant id, as Valkey has them in this epoch (of_epoch).
CREATE FUNCTION v1.record_counters(of_day date, of_epoch text, of_counters jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO directory.usage_day AS u (day, tenant, %(columns)s, seen, seen_epoch)
    SELECT of_day, t.name, %(values)s, n.value, of_epoch || '/' || t.id
    FROM jsonb_each(of_counters) n
    JOIN directory.tenant t ON t.id = n.key::bigint
    ON CONFLICT (day, tenant) DO UPDATE SET
        %(sums)s,
        seen = CASE WHEN u.seen_epoch = excluded.seen_epoch THEN jsonb_build_object(%(most)s) ELSE excluded.seen END,
        seen_epoch = excluded.seen_epoch
    WHERE (u.seen, u.seen_epoch) IS DISTINCT FROM (excluded.seen, excluded.seen_epoch);
END;
GRANT EXECUTE ON FUNCTION v1.record_usage, v1.record_day, v1.record_counters TO vmail;
"""


def text() -> str:
    """The SQL that creates the view and the functions, after the other views."""
    before = "CASE WHEN u.seen_epoch = excluded.seen_epoch THEN coalesce((u.seen ->> '{0}')::bigint, 0) ELSE 0 END"
    now = "coalesce((excluded.seen ->> '{0}')::bigint, 0)"
    return _SQL % {
        "free": ", ".join(f"'{local_part}'" for local_part in FREE_LOCAL_PARTS),
        "columns": ", ".join(COUNTERS),
        "values": ", ".join(f"coalesce((n.value ->> '{name}')::bigint, 0)" for name in COUNTERS),
        "sums": ",\n        ".join(
            f"{name} = u.{name} + greatest(0, {now} - {before})".replace("{0}", name) for name in COUNTERS
        ),
        "most": ", ".join(f"'{name}', greatest({now}, {before})".replace("{0}", name) for name in COUNTERS),
    }
