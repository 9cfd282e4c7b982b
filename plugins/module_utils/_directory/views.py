# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Views `v1.*` through which the daemons read the directory, and the rights to each.

PRIVATE to the collection: it can have breaking changes at any time.

The views belong to the owner of the tables, so a daemon needs no right to any table.  Every lookup is by (local_part,
domain) and must reach its rows by an index: a test checks its EXPLAIN.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from . import gate, lookups, notices, quarantine, spelling, usage
from .model import PLAN_DEFAULTS, QUEUE_DOMAIN

#: Operating system users that are database roles of the same name (peer authentication).
DAEMONS: Final = (
    "dovecot",
    gate.USER,
    "mailhosting-notices",
    "mailhosting-password",
    "mailhosting-policy",
    "postfix",
    "vmail",
)

#: Views that each daemon may read; only the owner reads the others.
GRANTS: Final[dict[str, tuple[str, ...]]] = {
    "dovecot": ("passdb", "legacy_passdb", "login_standing", "userdb", "name_holder", "closed_mailbox"),
    gate.USER: ("relay_login",),
    "mailhosting-policy": ("relay_login", "domain_member"),
    "postfix": (
        "domain",
        "former_domain",
        "mailbox_recipient",
        "plain_mailbox",
        "queued_mailbox",
        "alias",
        "all_member",
        "catch_all",
        "recipient_refusal",
        "held_sender",
        "sender",
    ),
    "vmail": ("expired_mailbox", "retention", "usage_account", "usage_tenant"),
}

#: RFC 3463 X.2.1: mailbox disabled, not accepting messages.
REFUSAL: Final = "550 5.2.1 This mailbox is disabled and takes no mail"

# The present name of a target's domain.
_PRESENT: Final = """coalesce(
    (SELECT f.renamed_to FROM v1.former_domain f WHERE f.domain = written.domain), written.domain)"""

_VIEWS: Final = """
CREATE SCHEMA v1;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;

-- Computed at each read, so a changed plan applies at once. Each column reads its own key: `settings` merges all keys,
-- which takes ten times as long.
CREATE VIEW v1.tenant_settings AS
SELECT t.id AS tenant_id, t.name AS tenant, %(defaults)s::jsonb || p.settings || t.overrides AS settings,
       (%(mailbox_quota)s #>> '{}')::bigint AS mailbox_quota,
       (%(max_messages)s #>> '{}')::bigint AS max_messages,
       (%(max_folders)s #>> '{}')::bigint AS max_folders,
       (%(max_filters)s #>> '{}')::bigint AS max_filters,
       (%(max_filters_size)s #>> '{}')::bigint AS max_filters_size,
       ARRAY(SELECT jsonb_array_elements_text(%(protocols)s)) AS protocols,
       (%(cleartext_auth)s #>> '{}')::boolean AS cleartext_auth,
       (%(legacy_auth)s #>> '{}')::boolean AS legacy_auth,
       coalesce(%(pop_before_smtp)s #>> '{for}', %(pop_before_smtp)s #>> '{}')::integer AS pop_before_smtp,
       coalesce(%(pop_before_smtp)s #>> '{senders}', 'login') AS relay_senders,
       (%(renamed_domain)s #>> '{}')::integer AS renamed_domain,
       %(all_address)s #>> '{}' AS all_address,
       ARRAY(SELECT jsonb_array_elements_text(%(quota_warnings)s)::integer) AS quota_warnings,
       (%(billing_step)s #>> '{}')::integer AS billing_step,
       %(retention)s AS retention,
       (%(max_message_size)s #>> '{}')::bigint AS max_message_size,
       (%(tenant_quota)s #>> '{}')::bigint AS tenant_quota,
       %(send_limits)s AS send_limits,
       %(receive_limits)s AS receive_limits,
       %(account_send_limits)s AS account_send_limits,
       nullif(%(bulk_mail)s, 'null') AS bulk_mail,
       nullif(%(virus)s, 'null') AS virus
FROM directory.tenant t
JOIN directory.plan p ON p.name = t.plan;

-- Rights of an address, from states and holds. Holds of the gate do not count in may_send: the gate itself rejects.
CREATE VIEW directory.standing AS
SELECT ad.local_part, ad.domain, ad.kind, ad.account_id, ad.targets, d.tenant_id,
       t.state IN ('active', 'no_login') AND coalesce(ac.state, 'active') <> 'suspended' AND NOT EXISTS (
           SELECT FROM directory.hold h WHERE (h.account_id = ad.account_id OR h.tenant_id = d.tenant_id)
           AND h.scope = 'receive' AND coalesce(h.until > now(), true)) AS may_receive,
       t.state IN ('active', 'no_login') AND coalesce(ac.state, 'active') <> 'suspended' AND NOT EXISTS (
           SELECT FROM directory.hold h WHERE (h.account_id = ad.account_id OR h.tenant_id = d.tenant_id)
           AND h.scope = 'send' AND h.origin <> 'gate' AND coalesce(h.until > now(), true)) AS may_send,
       t.state = 'active' AND ac.state = 'active' AND NOT EXISTS (
           SELECT FROM directory.hold h WHERE (h.account_id = ad.account_id OR h.tenant_id = d.tenant_id)
           AND h.scope = 'login' AND coalesce(h.until > now(), true)) AS may_login
FROM directory.address ad
JOIN directory.domain d ON d.name = ad.domain
JOIN directory.tenant t ON t.id = d.tenant_id
LEFT JOIN directory.account ac ON ac.id = ad.account_id;

-- Accounts with a hold in force that suspends their forwarding (`forward`) or their filters (`filter`).
CREATE VIEW directory.suspension AS
SELECT ac.id AS account_id, h.scope
FROM directory.account ac
JOIN directory.hold h ON h.account_id = ac.id OR h.tenant_id = ac.tenant_id
WHERE h.scope IN ('forward', 'filter') AND coalesce(h.until > now(), true);

-- Former names of renamed domains that still take mail, with the present name.
CREATE VIEW v1.former_domain AS
SELECT f.name AS domain, f.domain AS renamed_to
FROM directory.former_domain f
JOIN directory.domain d ON d.name = f.domain
JOIN v1.tenant_settings ts ON ts.tenant_id = d.tenant_id
WHERE f.renamed_at + make_interval(secs => ts.renamed_domain) > now();

-- Our domains. A closed tenant's domain stays one, and rejects mail, while its mailboxes are kept.
CREATE VIEW directory.hosted AS
SELECT d.name AS domain
FROM directory.domain d
JOIN directory.tenant t ON t.id = d.tenant_id
WHERE t.state <> 'closed' OR EXISTS (SELECT FROM directory.closed c WHERE c.domain = d.name);

CREATE VIEW v1.domain AS
SELECT h.domain FROM directory.hosted h
UNION ALL
SELECT f.domain FROM v1.former_domain f JOIN directory.hosted h ON h.domain = f.renamed_to;

CREATE VIEW v1.mailbox_recipient AS
SELECT s.local_part, s.domain FROM directory.standing s WHERE s.kind = 'account' AND s.may_receive;

-- A mark in a domain: bit n makes the letter n a capital. Case means nothing there for any other reader (RFC 5321 2.4).
CREATE FUNCTION v1.marked(domain text, mark integer) RETURNS text LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    SELECT string_agg(CASE WHEN l.is_letter AND l.number <= 10 AND mark >> (l.number - 1)::integer & 1 = 1
                           THEN upper(l.letter) ELSE l.letter END, '' ORDER BY l.place)
    FROM (SELECT c.letter, c.place, c.letter BETWEEN 'a' AND 'z' AS is_letter,
                 count(*) FILTER (WHERE c.letter BETWEEN 'a' AND 'z') OVER (ORDER BY c.place) AS number
          FROM string_to_table(marked.domain, NULL) WITH ORDINALITY AS c (letter, place)) l;
END;
CREATE FUNCTION v1.mark_of(domain text) RETURNS integer LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    SELECT coalesce(sum(1 << (l.number - 1)::integer) FILTER (WHERE l.letter BETWEEN 'A' AND 'Z' AND l.number <= 10), 0)
    FROM (SELECT c.letter, row_number() OVER (ORDER BY c.place) AS number
          FROM string_to_table(mark_of.domain, NULL) WITH ORDINALITY AS c (letter, place)
          WHERE lower(c.letter) BETWEEN 'a' AND 'z') l;
END;

-- An account's mailbox in Postfix's queue: its name, with the holder's mark in the domain. RFC 5321 wants a local part
-- with a colon quoted. Postfix takes no domain above 255 characters, so the longest ones get no suffix.
CREATE VIEW v1.queued_mailbox AS
SELECT ad.local_part, ad.domain, %(keeps_all)s AS plain, m.marked_domain,
       CASE WHEN strpos(ad.local_part, ':') > 0 THEN '"' || ad.local_part || '"' ELSE ad.local_part END
       || '@' || m.marked_domain
       || CASE WHEN length(ad.domain || '.%(queue_domain)s') <= 255 THEN '.%(queue_domain)s' ELSE '' END AS address
FROM directory.address ad
JOIN directory.account ac ON ac.id = ad.account_id
LEFT JOIN directory.name_holder h
    ON h.domain = ad.domain AND h.local_part = ad.local_part AND h.account_id = ad.account_id
CROSS JOIN LATERAL (VALUES (
    CASE WHEN h.mark > 0 THEN v1.marked(ad.domain, h.mark) ELSE ad.domain END)) AS m (marked_domain);

-- Accounts that forward nothing: most are such, and the question is cheap.
CREATE VIEW v1.plain_mailbox AS
SELECT q.local_part, q.domain, q.address FROM v1.queued_mailbox q WHERE q.plain;

-- Holders of a name by mark, with their present name; NULL if the account is closed or gone.
CREATE VIEW v1.name_holder AS
SELECT h.local_part, h.domain, h.mark, h.account_id, ad.local_part AS now_local_part, ad.domain AS now_domain
FROM directory.name_holder h
LEFT JOIN directory.address ad ON ad.account_id = h.account_id;

-- A tenant's contacts: whether each takes mail, and whether somebody can read it, by a login or elsewhere after a
-- forward. An alias counts as the best of its targets. It is a function: as a part of each lookup's query it would make
-- the planning of an address 20 times as long.
CREATE FUNCTION directory.contact(of_tenant bigint)
RETURNS TABLE (name text, address text, takes_mail boolean, is_read boolean)
LANGUAGE plpgsql STABLE ROWS 2 SECURITY DEFINER SET search_path = pg_catalog, pg_temp %(planning)s AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT role.name, role.address, coalesce(found.takes_mail, true), coalesce(found.is_read, true)
    FROM directory.tenant t
    CROSS JOIN LATERAL (VALUES ('technical'), ('abuse')) AS named (name)
    CROSS JOIN LATERAL (VALUES (named.name, t.contacts ->> named.name)) AS role (name, address)
    LEFT JOIN LATERAL (
        SELECT s.may_receive AND coalesce(leads.takes_mail, s.kind = 'account') AS takes_mail,
               s.may_receive AND coalesce(leads.is_read, s.may_login OR ac.forward_to IS NOT NULL, false) AS is_read
        FROM directory.standing s
        LEFT JOIN directory.account ac ON ac.id = s.account_id
        LEFT JOIN LATERAL (
            SELECT bool_or(coalesce(o.may_receive, true)) AS takes_mail,
                   bool_or(coalesce(o.may_receive AND (
                       o.kind = 'alias' OR o.may_login OR oac.forward_to IS NOT NULL), true)) AS is_read
            FROM unnest(s.targets) AS target (address)
            LEFT JOIN directory.standing o ON o.local_part = split_part(split_part(target.address, '@', 1), '+', 1)
                AND o.domain = split_part(target.address, '@', 2)
            LEFT JOIN directory.account oac ON oac.id = o.account_id) AS leads ON s.kind = 'alias'
        WHERE s.local_part = split_part(split_part(role.address, '@', 1), '+', 1)
        AND s.domain = split_part(role.address, '@', 2)) AS found ON true
    WHERE t.id = of_tenant AND role.address IS NOT NULL;
END $$;
-- A view runs functions as its caller; without USAGE on schema directory no daemon can call this one by name.
GRANT EXECUTE ON FUNCTION directory.contact TO PUBLIC;

-- Addresses that exist unless declared: roles (RFC 2142) and former addresses of renamed accounts. Every domain has a
-- postmaster (RFC 5321 4.5.1). It is the host's own if the tenant has neither a catch-all nor a contact that takes
-- mail.
CREATE VIEW directory.undeclared AS
SELECT role.local_part, d.name AS domain, responsible.contact AS target
FROM directory.domain d
JOIN directory.tenant t ON t.id = d.tenant_id
CROSS JOIN (VALUES ('postmaster'), ('abuse')) AS role (local_part)
CROSS JOIN LATERAL (
    SELECT coalesce(
        max(c.address) FILTER (WHERE role.local_part = 'abuse' AND c.name = 'abuse' AND c.takes_mail),
        max(c.address) FILTER (WHERE c.name = 'technical' AND c.takes_mail),
        CASE WHEN d.catch_all IS NULL OR bool_or(c.name = 'technical') THEN 'postmaster' END) AS contact
    FROM directory.contact(t.id) c) AS responsible
WHERE responsible.contact IS NOT NULL AND t.state IN ('active', 'no_login')
AND NOT EXISTS (SELECT FROM directory.address a WHERE a.local_part = role.local_part AND a.domain = d.name)
UNION ALL
SELECT f.local_part, f.domain, ad.local_part || '@' || ad.domain
FROM directory.former_address f
JOIN directory.address ad ON ad.account_id = f.account_id
WHERE f.expires_at > now()
AND NOT EXISTS (SELECT FROM directory.address a WHERE a.local_part = f.local_part AND a.domain = f.domain);

-- all@: every account of its domain that takes mail (VM-7).
CREATE VIEW v1.all_member AS
SELECT 'all'::text AS local_part, d.name AS domain, ts.all_address AS senders, m.local_part || '@' || m.domain AS target
FROM directory.domain d
JOIN v1.tenant_settings ts ON ts.tenant_id = d.tenant_id
JOIN directory.standing m ON m.domain = d.name AND m.kind = 'account' AND m.may_receive
WHERE ts.all_address IS NOT NULL
AND NOT EXISTS (SELECT FROM directory.address a WHERE a.local_part = 'all' AND a.domain = d.name);

-- The targets of an address.
CREATE VIEW directory.expansion AS
SELECT s.local_part, s.domain, CASE
    WHEN s.kind = 'alias' THEN s.targets
    WHEN %(keeps_all)s THEN NULL
    WHEN ac.forward_keep THEN ac.forward_to || (s.local_part || '@' || s.domain)
    ELSE ac.forward_to
END AS targets
FROM directory.standing s
LEFT JOIN directory.account ac ON ac.id = s.account_id
WHERE s.may_receive
UNION ALL
SELECT u.local_part, u.domain, ARRAY[u.target] FROM directory.undeclared u;

-- Our addresses that may be targets of others. all@ may not: Postfix checks who writes to all@ itself, and could not
-- check that through an alias, a forward or a catch-all, perhaps another tenant's.
CREATE VIEW directory.receiver AS
SELECT s.local_part, s.domain FROM directory.standing s WHERE s.may_receive
UNION ALL
SELECT u.local_part, u.domain FROM directory.undeclared u;

-- Leaves out a target of ours that takes no mail: mail accepted for it could only bounce.
CREATE VIEW v1.alias AS
SELECT e.local_part, e.domain, target.address AS target
FROM directory.expansion e
CROSS JOIN LATERAL unnest(e.targets) AS target (address)
CROSS JOIN LATERAL (VALUES (
    split_part(split_part(target.address, '@', 1), '+', 1),
    split_part(target.address, '@', 2))) AS written (local_part, domain)
CROSS JOIN LATERAL (SELECT %(present)s AS domain) AS at
WHERE NOT EXISTS (SELECT FROM directory.hosted h WHERE h.domain = at.domain)
OR EXISTS (SELECT FROM directory.receiver r WHERE r.local_part = written.local_part AND r.domain = at.domain);

CREATE VIEW v1.catch_all AS
SELECT d.name AS domain, d.catch_all AS target
FROM directory.domain d
JOIN directory.tenant t ON t.id = d.tenant_id
CROSS JOIN LATERAL (VALUES (
    split_part(split_part(d.catch_all, '@', 1), '+', 1),
    split_part(d.catch_all, '@', 2))) AS written (local_part, domain)
CROSS JOIN LATERAL (SELECT %(present)s AS domain) AS at
WHERE d.catch_all IS NOT NULL AND t.state IN ('active', 'no_login') AND (
    NOT EXISTS (SELECT FROM directory.hosted h WHERE h.domain = at.domain)
    OR EXISTS (SELECT FROM directory.receiver r WHERE r.local_part = written.local_part AND r.domain = at.domain));

-- `reply` is an action of Postfix's access(5).
CREATE VIEW v1.recipient_refusal AS
SELECT s.local_part, s.domain, %(refusal)s AS reply FROM directory.standing s WHERE NOT s.may_receive
UNION ALL
SELECT s.local_part, s.domain, %(refusal)s FROM directory.standing s
WHERE s.kind = 'alias' AND s.may_receive AND NOT EXISTS (
    SELECT FROM v1.alias a WHERE a.local_part = s.local_part AND a.domain = s.domain)
UNION ALL
SELECT u.local_part, u.domain, %(refusal)s FROM directory.undeclared u
WHERE EXISTS (
    SELECT FROM directory.standing s WHERE s.local_part = split_part(split_part(u.target, '@', 1), '+', 1)
    AND s.domain = split_part(u.target, '@', 2) AND NOT s.may_receive)
UNION ALL
SELECT DISTINCT c.local_part, c.domain, %(refusal)s FROM directory.closed c
WHERE NOT EXISTS (SELECT FROM directory.address a WHERE a.local_part = c.local_part AND a.domain = c.domain);

-- Logins that own a sender address: the account's own, and the accounts that an alias leads to.
CREATE VIEW directory.sender AS
SELECT s.local_part, s.domain, s.local_part || '@' || s.domain AS login, s.account_id, s.may_send, s.may_login
FROM directory.standing s WHERE s.kind = 'account'
UNION ALL
SELECT s.local_part, s.domain, target.address, sender.account_id, sender.may_send, sender.may_login
FROM directory.standing s
CROSS JOIN LATERAL unnest(s.targets) AS target (address)
-- LIMIT keeps the planner from joining all accounts: it expects ten targets of each alias.
CROSS JOIN LATERAL (
    SELECT o.account_id, o.may_send, o.may_login FROM directory.standing o
    WHERE o.local_part = split_part(split_part(target.address, '@', 1), '+', 1)
    AND o.domain = split_part(target.address, '@', 2)
    AND o.tenant_id = s.tenant_id AND o.kind = 'account'
    LIMIT 1) AS sender
WHERE s.kind = 'alias';

-- Logins that may use an address as their envelope sender.
CREATE VIEW v1.sender AS SELECT s.local_part, s.domain, s.login FROM directory.sender s WHERE s.may_send;

-- Logins that own the address but may not send: Postfix lets them pass, and the gate rejects with the reason.
CREATE VIEW v1.held_sender AS SELECT s.local_part, s.domain, s.login FROM directory.sender s WHERE NOT s.may_send;

-- Logins after which a client's address may relay with a sender, for `pop_before_smtp` seconds (VM-10). Logins before
-- `login_since` (seconds since 1970) do not count. The username `@domain` stands for any login of that domain, where
-- the plan allows all senders of the tenant.
CREATE VIEW v1.relay_login AS
SELECT s.local_part, s.domain, s.login AS username, ts.pop_before_smtp,
       extract(epoch FROM ac.login_since)::double precision AS login_since
FROM directory.sender s
JOIN directory.account ac ON ac.id = s.account_id
JOIN v1.tenant_settings ts ON ts.tenant_id = ac.tenant_id
WHERE s.may_send AND s.may_login AND ts.pop_before_smtp IS NOT NULL
UNION ALL
SELECT s.local_part, s.domain, '@' || login.name, ts.pop_before_smtp, '-infinity'
FROM directory.standing s
JOIN v1.tenant_settings ts ON ts.tenant_id = s.tenant_id
JOIN directory.domain login ON login.tenant_id = s.tenant_id
WHERE s.may_send AND ts.pop_before_smtp IS NOT NULL AND ts.relay_senders = 'tenant';

-- The domains of an account's tenant.
CREATE VIEW v1.domain_member AS
SELECT ad.local_part, ad.domain, other.name AS recipient_domain
FROM directory.address ad
JOIN directory.account ac ON ac.id = ad.account_id
JOIN directory.domain other ON other.tenant_id = ac.tenant_id
UNION ALL
SELECT ad.local_part, ad.domain, f.domain
FROM v1.former_domain f
JOIN directory.domain other ON other.name = f.renamed_to
JOIN directory.account ac ON ac.tenant_id = other.tenant_id
JOIN directory.address ad ON ad.account_id = ac.id;

-- Logins before `login_since` (seconds since 1970) do not count.
CREATE VIEW v1.passdb AS
SELECT s.local_part, s.domain, s.local_part || '@' || s.domain AS username, ac.password,
       ts.protocols, ts.cleartext_auth, s.may_login, extract(epoch FROM ac.login_since)::double precision AS login_since
FROM directory.standing s
JOIN directory.account ac ON ac.id = s.account_id
JOIN v1.tenant_settings ts ON ts.tenant_id = s.tenant_id;

-- What may have changed since a password was checked; a login opens a mailbox only as it stands then. It does not read
-- the plan, as v1.passdb does.
CREATE VIEW v1.login_standing AS
SELECT s.local_part, s.domain, s.may_login, extract(epoch FROM ac.login_since)::double precision AS login_since
FROM directory.standing s
JOIN directory.account ac ON ac.id = s.account_id;

-- For APOP and CRAM-MD5: the secret in the form that Dovecot decrypts, and the id of its key; NULL without a secret.
CREATE VIEW v1.legacy_passdb AS
SELECT s.local_part, s.domain, s.local_part || '@' || s.domain AS username,
       split_part(ac.legacy_secret, '$', 1) AS key_id,
       substr(ac.legacy_secret, strpos(ac.legacy_secret, '$') + 1) AS secret,
       ts.protocols, ts.cleartext_auth, s.may_login,
       extract(epoch FROM account.login_since)::double precision AS login_since
FROM directory.standing s
JOIN directory.account account ON account.id = s.account_id
JOIN v1.tenant_settings ts ON ts.tenant_id = s.tenant_id
CROSS JOIN LATERAL (SELECT CASE WHEN ts.legacy_auth THEN account.legacy_secret END AS legacy_secret) ac;

-- Other addresses of one account alone: aliases with it as the only target, and its former addresses.
CREATE VIEW directory.own_address AS
SELECT ad.account_id, a.local_part || '@' || a.domain AS address
FROM directory.address ad
JOIN directory.domain d ON d.name = ad.domain
JOIN directory.address a ON a.targets[1] = ad.local_part || '@' || ad.domain
    AND a.kind = 'alias' AND cardinality(a.targets) = 1
JOIN directory.domain other ON other.name = a.domain AND other.tenant_id = d.tenant_id
UNION ALL
SELECT f.account_id, f.local_part || '@' || f.domain
FROM directory.former_address f WHERE f.expires_at > now()
UNION ALL
SELECT ad.account_id, ad.local_part || '@' || f.domain
FROM directory.address ad JOIN v1.former_domain f ON f.renamed_to = ad.domain;

-- An account's other addresses as a regular expression, cut to what fits Dovecot's line. It is a function: as a part of
-- the view it took most of the time of every login and delivery, though few accounts have an auto-reply.
CREATE FUNCTION directory.other_addresses(of_account bigint) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp %(planning)s AS $$
BEGIN
    RETURN (
        SELECT string_agg(o.address, '|') FROM (
            SELECT o.address, sum(length(o.address) + 1) OVER (ORDER BY o.address) AS length
            FROM directory.own_address a
            CROSS JOIN LATERAL (SELECT replace(a.address, '.', '[.]') AS address) o
            WHERE a.account_id = of_account) o
        WHERE o.length <= 500);
END $$;
GRANT EXECUTE ON FUNCTION directory.other_addresses TO PUBLIC;  -- as for directory.contact

CREATE VIEW v1.userdb AS
SELECT ad.local_part, ad.domain, ad.local_part || '@' || ad.domain AS username,
       lpad((ac.id %% 100)::text, 2, '0') || '/' || ac.id AS home,
       coalesce(ac.quota, ts.mailbox_quota, 0) AS quota_storage_size,
       CASE WHEN ac.autoreply IS NOT NULL
            AND extract(epoch FROM now()) >= coalesce((ac.autoreply ->> 'start')::bigint, 0)
            AND extract(epoch FROM now()) < coalesce((ac.autoreply ->> 'end')::numeric, 'infinity')
            THEN ac.autoreply || jsonb_build_object('addresses', directory.other_addresses(ac.id))
            END AS autoreply,
       EXISTS (SELECT FROM directory.suspension u WHERE u.account_id = ac.id AND u.scope = 'filter') AS filters_held,
       ts.max_messages, ts.max_folders, ts.max_filters, ts.max_filters_size
FROM directory.address ad
JOIN directory.account ac ON ac.id = ad.account_id
JOIN v1.tenant_settings ts ON ts.tenant_id = ac.tenant_id;

-- Mail that was accepted before an account was closed is still delivered to it: the account may be restored, and its
-- name may have a new holder.
CREATE VIEW v1.closed_mailbox AS
SELECT c.account_id, c.local_part || '@' || c.domain || '.' || c.account_id || '.%(queue_domain)s' AS username,
       lpad((ac.id %% 100)::text, 2, '0') || '/' || ac.id AS home,
       coalesce(ac.quota, ts.mailbox_quota, 0) AS quota_storage_size
FROM directory.closed c
JOIN directory.account ac ON ac.id = c.account_id
JOIN v1.tenant_settings ts ON ts.tenant_id = ac.tenant_id
WHERE c.expires_at > now();

CREATE VIEW v1.expired_mailbox AS
SELECT account_id FROM directory.closed WHERE expires_at <= now();

-- Accounts whose mail is removed after a time: seconds by one of the model's RETENTION. A legal hold exempts an
-- account. `addresses`: the owner's senders, which are its name, its former names, and the aliases with no other
-- target.
CREATE VIEW v1.retention AS
SELECT ac.id AS account_id, ad.local_part || '@' || ad.domain AS username, ad.domain, ts.tenant, ts.retention,
       ARRAY[ad.local_part || '@' || ad.domain] || also.addresses || ARRAY(
           SELECT f.local_part || '@' || f.domain FROM directory.former_address f WHERE f.account_id = ac.id
       ) AS addresses
FROM directory.address ad
JOIN directory.account ac ON ac.id = ad.account_id
JOIN v1.tenant_settings ts ON ts.tenant_id = ac.tenant_id
LEFT JOIN (
    SELECT a.targets[1] AS target, array_agg(a.local_part || '@' || a.domain) AS addresses
    FROM directory.address a WHERE a.kind = 'alias' AND cardinality(a.targets) = 1 GROUP BY a.targets[1]
) AS also ON also.target = ad.local_part || '@' || ad.domain
WHERE ts.retention <> '{}' AND NOT EXISTS (
    SELECT FROM directory.hold h WHERE (h.account_id = ac.id OR h.tenant_id = ac.tenant_id)
    AND h.scope = 'retention' AND coalesce(h.until > now(), true));

-- Accounts whose bytes in use are counted.
CREATE VIEW v1.usage_account AS
SELECT ad.account_id, ad.local_part || '@' || ad.domain AS username, d.tenant_id
FROM directory.address ad
JOIN directory.domain d ON d.name = ad.domain
WHERE ad.kind = 'account';

CREATE VIEW v1.usage_tenant AS SELECT t.id AS tenant_id FROM directory.tenant t;

-- Called after the files are removed. Does nothing while the mailbox's grace lasts.
CREATE FUNCTION v1.forget_mailbox(mailbox bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM directory.closed WHERE account_id = mailbox AND expires_at <= now();
    DELETE FROM directory.account a WHERE a.id = mailbox
        AND NOT EXISTS (SELECT FROM directory.closed c WHERE c.account_id = a.id)
        AND NOT EXISTS (SELECT FROM directory.address ad WHERE ad.account_id = a.id);
    DELETE FROM directory.name_holder h WHERE h.account_id IS NULL AND h.left_at < now() - interval '1 year';
END;
"""

# For the one service that changes passwords. `before` is the hash that it read; the new password is the user's own.
_PASSWORDS: Final = """
CREATE FUNCTION v1.password_of(of_local_part text, of_domain text)
RETURNS TABLE (password text, legacy_auth boolean, may_login boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT ac.password, ts.legacy_auth, s.may_login
    FROM directory.standing s
    JOIN directory.account ac ON ac.id = s.account_id
    JOIN v1.tenant_settings ts ON ts.tenant_id = s.tenant_id
    WHERE s.local_part = of_local_part AND s.domain = of_domain;
END;
CREATE FUNCTION v1.set_password(of_local_part text, of_domain text, before text, hash text, secret text)
RETURNS SETOF boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE directory.account ac SET password = hash, legacy_secret = CASE WHEN ts.legacy_auth THEN secret END
    FROM directory.address ad, v1.tenant_settings ts
    WHERE ad.account_id = ac.id AND ts.tenant_id = ac.tenant_id
    AND ad.local_part = of_local_part AND ad.domain = of_domain AND ac.password IS NOT DISTINCT FROM before
    RETURNING true;
END;
GRANT EXECUTE ON FUNCTION v1.password_of, v1.set_password TO "mailhosting-password";
"""

#: Removes all views, so that no daemon reads the tables any more.
REMOVAL: Final = """
DROP SCHEMA IF EXISTS v1 CASCADE;
DROP VIEW IF EXISTS directory.keeper, directory.billing, directory.receiver, directory.expansion, directory.undeclared,
    directory.contact, directory.hosted, directory.own_address, directory.sender, directory.suspension,
    directory.standing;
DROP FUNCTION IF EXISTS directory.contact, directory.other_addresses;
"""


def text() -> str:
    """The SQL that defines every view anew and grants it to its readers; run it as their owner."""
    return (
        REMOVAL
        + _VIEWS
        % {
            **{key: _setting(key) for key in PLAN_DEFAULTS},
            "defaults": _literal(PLAN_DEFAULTS),
            "refusal": f"'{REFUSAL}'",
            "present": _PRESENT,
            "keeps_all": gate.KEEPS_ALL,
            "planning": lookups.PLANNING,
            "queue_domain": QUEUE_DOMAIN,
        }
        + _PASSWORDS
        + notices.text()
        + spelling.text()
        + lookups.text()
        + usage.text()
        + gate.text()
        + quarantine.text()
        + "\n".join(_grants())
        + "\n"
    )


def digest() -> str:
    """SHA-256 of `text()` in hex; a database with another digest has views of another release."""
    return hashlib.sha256(text().encode()).hexdigest()


def _setting(key: str) -> str:
    """The value (jsonb) of a plan's key for tenant `t` with plan `p`."""
    return f"coalesce(t.overrides -> '{key}', p.settings -> '{key}', {_literal(PLAN_DEFAULTS[key])}::jsonb)"


def _literal(value: Any) -> str:
    """JSON of a value as a constant of SQL."""
    return "'" + json.dumps(value, sort_keys=True).replace("'", "''") + "'"


def _grants() -> list[str]:
    daemons = ", ".join(f'"{daemon}"' for daemon in DAEMONS)
    statements = [
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;",
        f"GRANT USAGE ON SCHEMA v1 TO {daemons};",
        "GRANT EXECUTE ON FUNCTION v1.forget_mailbox TO vmail;",
        "GRANT EXECUTE ON FUNCTION v1.marked TO postfix;",
        "GRANT EXECUTE ON FUNCTION v1.mark_of TO dovecot;",
    ]
    return statements + [
        f'GRANT SELECT ON {", ".join(f"v1.{view}" for view in views)} TO "{daemon}";'
        for daemon, views in GRANTS.items()
    ]
