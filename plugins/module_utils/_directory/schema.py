# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory's tables, one migration after the other.

PRIVATE to the collection: it can have breaking changes at any time.

Only the role `directory` applies these, through `mail_schema`.  A released migration is never edited: a release adds
what it needs (expand), and the release after it removes what no program reads any more (contract).
"""

from __future__ import annotations

from typing import Final

#: The database, and the role that owns everything in it.
DATABASE: Final = "mailhosting"
OWNER: Final = "mailhosting"

_FIRST: Final = """
CREATE TABLE directory.plan (
    name text PRIMARY KEY,
    settings jsonb NOT NULL,                       -- the keys as written
    origin text NOT NULL CHECK (origin IN ('inventory', 'module', 'panel', 'system'))
);

CREATE TABLE directory.tenant (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    plan text NOT NULL REFERENCES directory.plan,
    overrides jsonb NOT NULL,                      -- plan keys as written, for this tenant alone
    state text NOT NULL CHECK (state IN ('active', 'no_login', 'suspended', 'closed')),
    addresses_managed_by text NOT NULL CHECK (addresses_managed_by IN ('inventory', 'panel')),
    origin text NOT NULL CHECK (origin IN ('inventory', 'module', 'panel', 'system'))
);
CREATE INDEX tenant_plan ON directory.tenant (plan);

-- Its origin is its tenant's.
CREATE TABLE directory.domain (
    name text PRIMARY KEY,                         -- A-labels
    tenant_id bigint NOT NULL REFERENCES directory.tenant,
    hostnames text[] NOT NULL
);
CREATE INDEX domain_tenant ON directory.domain (tenant_id);

-- A mailbox. Its address is a row of directory.address or, once closed, of directory.closed.
CREATE SEQUENCE directory.account_id;
CREATE TABLE directory.account (
    id bigint PRIMARY KEY DEFAULT nextval('directory.account_id'),
    tenant_id bigint NOT NULL REFERENCES directory.tenant,
    state text NOT NULL CHECK (state IN ('active', 'no_login', 'suspended')),
    quota bigint CHECK (quota >= 0),               -- bytes; 0: no limit; NULL: the plan's
    password text,                                 -- {SCHEME}hash
    password_applied text,                         -- the hash a run last set and still enforces
    password_fingerprint text,                     -- of the enforced plain password
    forward_to text[],
    forward_keep boolean,
    forward_applied jsonb,                         -- what a run last set and still enforces
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((forward_to IS NULL) = (forward_keep IS NULL))
);
ALTER SEQUENCE directory.account_id OWNED BY directory.account.id;
CREATE INDEX account_tenant ON directory.account (tenant_id);

-- One namespace, so that nothing can be two things.
CREATE TABLE directory.address (
    local_part text NOT NULL,
    domain text NOT NULL REFERENCES directory.domain,
    kind text NOT NULL CHECK (kind IN ('account', 'alias', 'list', 'all', 'catch_all', 'system')),
    account_id bigint UNIQUE REFERENCES directory.account,
    targets text[],                                -- of an alias
    origin text NOT NULL CHECK (origin IN ('inventory', 'module', 'panel', 'system')),
    PRIMARY KEY (domain, local_part),
    CHECK ((kind = 'account') = (account_id IS NOT NULL)),
    CHECK ((kind = 'alias') = (targets IS NOT NULL))
);

-- A mailbox that is kept for its grace. No domain is referred to: it may have left.
CREATE TABLE directory.closed (
    account_id bigint PRIMARY KEY REFERENCES directory.account,
    local_part text NOT NULL,
    domain text NOT NULL,
    closed_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX closed_address ON directory.closed (domain, local_part);
CREATE INDEX closed_expiry ON directory.closed (expires_at);

CREATE TABLE directory.hold (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint REFERENCES directory.account ON DELETE CASCADE,
    tenant_id bigint REFERENCES directory.tenant ON DELETE CASCADE,
    scope text NOT NULL CHECK (scope IN ('send', 'receive', 'login')),
    reason text NOT NULL,
    until timestamptz,                             -- NULL: until it is lifted
    origin text NOT NULL CHECK (origin IN ('operator', 'gate', 'abuse')),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((account_id IS NULL) <> (tenant_id IS NULL)),
    UNIQUE NULLS NOT DISTINCT (account_id, tenant_id, scope, origin)
);
CREATE INDEX hold_tenant ON directory.hold (tenant_id) WHERE tenant_id IS NOT NULL;
"""

_SECOND: Final = """
ALTER TABLE directory.tenant
    ADD language text NOT NULL DEFAULT 'en',
    ADD contacts jsonb NOT NULL DEFAULT '{}';
ALTER TABLE directory.domain ADD catch_all text;      -- a full address
ALTER TABLE directory.account
    ADD autoreply jsonb,                              -- body, subject, start and end in seconds since 1970
    ADD autoreply_applied jsonb,                      -- what a run last set and still enforces
    ADD legacy_secret text;                           -- <key id>$<iv>$<AES-256-CBC of the password>$, in hex

-- What a renamed account was called, for a while. An address that is declared comes first.
CREATE TABLE directory.former_address (
    domain text NOT NULL REFERENCES directory.domain ON DELETE CASCADE,
    local_part text NOT NULL,
    account_id bigint NOT NULL REFERENCES directory.account ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (domain, local_part)
);
CREATE INDEX former_address_account ON directory.former_address (account_id);

ALTER TABLE directory.hold
    DROP CONSTRAINT hold_scope_check,
    ADD CONSTRAINT hold_scope_check CHECK (scope IN ('send', 'receive', 'login', 'retention'));
"""

_THIRD: Final = """
ALTER TABLE directory.address
    DROP CONSTRAINT address_domain_fkey,
    ADD CONSTRAINT address_domain_fkey FOREIGN KEY (domain) REFERENCES directory.domain ON UPDATE CASCADE;
ALTER TABLE directory.former_address
    DROP CONSTRAINT former_address_domain_fkey,
    ADD CONSTRAINT former_address_domain_fkey FOREIGN KEY (domain) REFERENCES directory.domain
        ON UPDATE CASCADE ON DELETE CASCADE;

-- What a renamed domain was called. Its tenant's plan says for how long that counts.
CREATE TABLE directory.former_domain (
    name text PRIMARY KEY,                         -- A-labels
    domain text NOT NULL REFERENCES directory.domain ON UPDATE CASCADE ON DELETE CASCADE,
    renamed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX former_domain_domain ON directory.former_domain (domain);

-- Whose alone an alias is. Short keys only: a list of a thousand targets would not fit.
CREATE INDEX address_only_target ON directory.address ((targets[1])) WHERE kind = 'alias' AND cardinality(targets) = 1;

-- What people are to be told: queued until one of sent_at and given_up_at is set, then remembered for a while.
CREATE TABLE directory.notice (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    tenant_id bigint REFERENCES directory.tenant ON DELETE CASCADE,   -- NULL: the operator's concern alone
    account_id bigint REFERENCES directory.account ON DELETE CASCADE,
    facts jsonb NOT NULL,                          -- what its text names
    once text NOT NULL UNIQUE,                     -- what it is about: nobody is told twice
    reached text[] NOT NULL DEFAULT '{}',          -- addresses that have it
    attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    given_up_at timestamptz
);
CREATE INDEX notice_due ON directory.notice (due_at) WHERE sent_at IS NULL AND given_up_at IS NULL;
CREATE INDEX notice_tenant ON directory.notice (tenant_id);
CREATE INDEX notice_account ON directory.notice (account_id);

-- The highest threshold that an account has reached; 0, or no row: none.
CREATE TABLE directory.quota_level (
    account_id bigint PRIMARY KEY REFERENCES directory.account ON DELETE CASCADE,
    percent integer NOT NULL,
    changes bigint NOT NULL                        -- how often it has changed
);

-- Accounts whose quota changed: Dovecot notices only what mail changes.
CREATE TABLE directory.quota_recheck (
    account_id bigint PRIMARY KEY REFERENCES directory.account ON DELETE CASCADE
);

CREATE FUNCTION directory.quota_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'account' THEN
        INSERT INTO directory.quota_recheck VALUES (NEW.id) ON CONFLICT DO NOTHING;
    ELSIF TG_TABLE_NAME = 'tenant' THEN
        INSERT INTO directory.quota_recheck
        SELECT ac.id FROM directory.account ac WHERE ac.tenant_id = NEW.id ON CONFLICT DO NOTHING;
    ELSE
        INSERT INTO directory.quota_recheck
        SELECT ac.id FROM directory.account ac JOIN directory.tenant t ON t.id = ac.tenant_id
        WHERE t.plan = NEW.name ON CONFLICT DO NOTHING;
    END IF;
    PERFORM pg_notify('mailhosting_notices', '');
    RETURN NULL;
END $$;
CREATE TRIGGER quota_changed AFTER UPDATE ON directory.account
    FOR EACH ROW WHEN (OLD.quota IS DISTINCT FROM NEW.quota) EXECUTE FUNCTION directory.quota_changed();
CREATE TRIGGER quota_changed AFTER UPDATE ON directory.tenant
    FOR EACH ROW WHEN (
        OLD.plan <> NEW.plan
        OR OLD.overrides -> 'mailbox_quota' IS DISTINCT FROM NEW.overrides -> 'mailbox_quota'
        OR OLD.overrides -> 'quota_notice' IS DISTINCT FROM NEW.overrides -> 'quota_notice')
    EXECUTE FUNCTION directory.quota_changed();
CREATE TRIGGER quota_changed AFTER UPDATE ON directory.plan
    FOR EACH ROW WHEN (
        OLD.settings -> 'mailbox_quota' IS DISTINCT FROM NEW.settings -> 'mailbox_quota'
        OR OLD.settings -> 'quota_notice' IS DISTINCT FROM NEW.settings -> 'quota_notice')
    EXECUTE FUNCTION directory.quota_changed();

-- Bytes in use by a mailbox, as last seen.
CREATE TABLE directory.usage_now (
    account_id bigint PRIMARY KEY REFERENCES directory.account ON DELETE CASCADE,
    bytes bigint NOT NULL CHECK (bytes >= 0)
);

-- What a tenant had on a day of UTC. History: it stays when the tenant is gone.
CREATE TABLE directory.usage_day (
    day date NOT NULL,
    tenant text NOT NULL,                          -- its name
    addresses integer,                             -- that count, when last looked at; NULL: nobody looked
    billed integer,                                -- the same in whole steps of the plan's billing_step
    bytes bigint,                                  -- in use when last looked at
    peak_bytes bigint,
    sent_messages bigint NOT NULL DEFAULT 0,
    sent_recipients bigint NOT NULL DEFAULT 0,
    sent_bytes bigint NOT NULL DEFAULT 0,
    sent_refused bigint NOT NULL DEFAULT 0,
    received_messages bigint NOT NULL DEFAULT 0,
    received_recipients bigint NOT NULL DEFAULT 0,
    received_bytes bigint NOT NULL DEFAULT 0,
    received_refused bigint NOT NULL DEFAULT 0,
    seen jsonb NOT NULL DEFAULT '{}',              -- the counters as they were last read, which are in the sums above
    seen_epoch text,                               -- of which tenant id, in which life of the store that counts them
    PRIMARY KEY (day, tenant)
);
"""

_FOURTH: Final = """
-- Mail that waits in Postfix's queue until somebody decides: what an account sent, or what is for a tenant. It refers
-- to no row: it may outlive them.
CREATE TABLE directory.held_mail (
    queue_id text PRIMARY KEY,                     -- Postfix gives it anew when the mail is gone
    account_id bigint,
    tenant_id bigint,
    kind text NOT NULL,                            -- a kind of notice
    held_at timestamptz NOT NULL,
    CHECK ((account_id IS NULL) <> (tenant_id IS NULL))
);
"""

_FIFTH: Final = """
-- A swap of two names is one statement.
ALTER TABLE directory.address
    DROP CONSTRAINT address_pkey,
    ADD CONSTRAINT address_pkey PRIMARY KEY (domain, local_part) DEFERRABLE;

-- Of a swap nothing else says that it was done.
ALTER TABLE directory.account ADD swapped_from text;  -- the local part that a file says it was renamed from

-- Another tenant's plan may have another quota.
CREATE TRIGGER tenant_changed AFTER UPDATE ON directory.account
    FOR EACH ROW WHEN (OLD.tenant_id <> NEW.tenant_id) EXECUTE FUNCTION directory.quota_changed();

-- Whose a name was, once it has been left, and is, if somebody has it since: mail that was accepted for it and is still
-- on its way is for whoever had it then, as the mark says. A name without rows has had one holder, whose mark is 0.
CREATE TABLE directory.name_holder (
    domain text NOT NULL,
    local_part text NOT NULL,
    mark integer NOT NULL,
    account_id bigint REFERENCES directory.account ON DELETE SET NULL,   -- NULL: nobody any more
    left_at timestamptz,                           -- NULL: it has the name now
    PRIMARY KEY (domain, local_part, mark),
    UNIQUE (account_id, domain, local_part)
);

-- How many marks the letters of a domain have room for.
CREATE FUNCTION directory.marks(domain text) RETURNS integer LANGUAGE sql IMMUTABLE
RETURN 1 << least(10, length(regexp_replace(domain, '[^a-z]', '', 'g')));

CREATE FUNCTION directory.names_passed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    taken record;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        WITH gone AS (
            SELECT b.domain, b.local_part, b.account_id FROM before b
            WHERE b.account_id IS NOT NULL AND NOT EXISTS (
                SELECT FROM directory.address ad
                WHERE ad.domain = b.domain AND ad.local_part = b.local_part AND ad.account_id = b.account_id)
        ), again AS (
            UPDATE directory.name_holder h SET left_at = now() FROM gone g
            WHERE h.account_id = g.account_id AND h.domain = g.domain AND h.local_part = g.local_part
            RETURNING h.account_id
        )
        INSERT INTO directory.name_holder (domain, local_part, mark, account_id, left_at)
        SELECT g.domain, g.local_part, 0, g.account_id, now() FROM gone g
        WHERE NOT EXISTS (SELECT FROM again a WHERE a.account_id = g.account_id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        FOR taken IN
            SELECT a.domain, a.local_part, a.account_id FROM after a
            WHERE a.account_id IS NOT NULL AND EXISTS (
                SELECT FROM directory.name_holder h WHERE h.domain = a.domain AND h.local_part = a.local_part)
        LOOP
            UPDATE directory.name_holder h SET left_at = NULL
            WHERE h.account_id = taken.account_id AND h.domain = taken.domain AND h.local_part = taken.local_part;
            CONTINUE WHEN FOUND;
            -- The least that is free, or that of whoever left first: years ago, if the domain is not very short.
            INSERT INTO directory.name_holder (domain, local_part, mark, account_id)
            SELECT taken.domain, taken.local_part, m.mark, taken.account_id
            FROM generate_series(0, directory.marks(taken.domain) - 1) AS m (mark)
            LEFT JOIN directory.name_holder h
                ON h.domain = taken.domain AND h.local_part = taken.local_part AND h.mark = m.mark
            ORDER BY h.mark IS NOT NULL, h.left_at, m.mark
            LIMIT 1
            ON CONFLICT (domain, local_part, mark)
                DO UPDATE SET account_id = excluded.account_id, left_at = NULL;
        END LOOP;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER names_given AFTER INSERT ON directory.address
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION directory.names_passed();
CREATE TRIGGER names_changed AFTER UPDATE ON directory.address
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION directory.names_passed();
CREATE TRIGGER names_left AFTER DELETE ON directory.address
    REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION directory.names_passed();
"""

_SIXTH: Final = """
-- Logins before this count no more: by a password that was changed, or of another account that had the name.
ALTER TABLE directory.account ADD login_since timestamptz NOT NULL DEFAULT '-infinity';
ALTER TABLE directory.account ALTER login_since SET DEFAULT clock_timestamp();

CREATE FUNCTION directory.password_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.login_since := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER password_changed BEFORE UPDATE ON directory.account
    FOR EACH ROW WHEN (OLD.password IS DISTINCT FROM NEW.password) EXECUTE FUNCTION directory.password_changed();

-- An account that is made in this transaction has no login yet.
CREATE FUNCTION directory.name_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE directory.account SET login_since = clock_timestamp() WHERE id = NEW.account_id AND created_at < now();
    RETURN NULL;
END $$;
CREATE TRIGGER name_given AFTER INSERT ON directory.address
    FOR EACH ROW WHEN (NEW.account_id IS NOT NULL) EXECUTE FUNCTION directory.name_changed();
CREATE TRIGGER name_changed AFTER UPDATE ON directory.address
    FOR EACH ROW WHEN (NEW.account_id IS NOT NULL AND
        (OLD.local_part, OLD.domain, OLD.account_id) IS DISTINCT FROM (NEW.local_part, NEW.domain, NEW.account_id))
    EXECUTE FUNCTION directory.name_changed();
"""

_SEVENTH: Final = """
-- Keys of plans, words in their values, and kinds of mail that is stopped got other names.
CREATE FUNCTION directory.keys_of_0_2(written jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    SELECT coalesce(jsonb_object_agg(
        CASE e.key
            WHEN 'mass_mail' THEN 'bulk_mail'
            WHEN 'max_forwards' THEN 'max_forward_targets'
            WHEN 'max_quota' THEN 'max_account_quota'
            WHEN 'quota_notice' THEN 'quota_warnings'
            ELSE e.key
        END,
        CASE
            WHEN e.key = 'max_quota' AND e.value = '"mailbox_quota"' THEN '"plan"'
            WHEN e.key = 'mass_mail' AND jsonb_typeof(e.value) = 'object' THEN (
                SELECT jsonb_object_agg(
                    CASE m.key
                        WHEN 'same_content' THEN 'recipients_per_content'
                        WHEN 'same_content_received' THEN 'recipients_per_content_received'
                        WHEN 'unknown_recipients' THEN 'invalid_recipients'
                        ELSE m.key
                    END, m.value)
                FROM jsonb_each(e.value) m)
            WHEN e.key IN ('send_limits', 'receive_limits') THEN (
                SELECT coalesce(jsonb_agg(
                    CASE WHEN l.value ? 'stops'
                        THEN l.value - 'stops' || jsonb_build_object('pause_applies_to', l.value -> 'stops')
                        ELSE l.value
                    END ORDER BY l.number), '[]')
                FROM jsonb_array_elements(e.value) WITH ORDINALITY AS l (value, number))
            WHEN e.key = 'retention' AND e.value ? 'any'
                THEN e.value - 'any' || jsonb_build_object('received', e.value -> 'any')
            ELSE e.value
        END), '{}')
    FROM jsonb_each(written) e;
END;

DROP TRIGGER quota_changed ON directory.tenant;
DROP TRIGGER quota_changed ON directory.plan;
UPDATE directory.plan SET settings = directory.keys_of_0_2(settings);
UPDATE directory.tenant SET overrides = directory.keys_of_0_2(overrides);
DROP FUNCTION directory.keys_of_0_2;
CREATE TRIGGER quota_changed AFTER UPDATE ON directory.tenant
    FOR EACH ROW WHEN (
        OLD.plan <> NEW.plan
        OR OLD.overrides -> 'mailbox_quota' IS DISTINCT FROM NEW.overrides -> 'mailbox_quota'
        OR OLD.overrides -> 'quota_warnings' IS DISTINCT FROM NEW.overrides -> 'quota_warnings')
    EXECUTE FUNCTION directory.quota_changed();
CREATE TRIGGER quota_changed AFTER UPDATE ON directory.plan
    FOR EACH ROW WHEN (
        OLD.settings -> 'mailbox_quota' IS DISTINCT FROM NEW.settings -> 'mailbox_quota'
        OR OLD.settings -> 'quota_warnings' IS DISTINCT FROM NEW.settings -> 'quota_warnings')
    EXECUTE FUNCTION directory.quota_changed();

UPDATE directory.hold SET reason = 'bulk_mail' WHERE origin = 'gate' AND reason = 'mass_mail';
UPDATE directory.hold SET reason = 'invalid_recipients' WHERE origin = 'gate' AND reason = 'unknown_recipients';
UPDATE directory.held_mail SET kind = 'bulk_mail' WHERE kind = 'mass_mail';
UPDATE directory.held_mail SET kind = 'invalid_recipients' WHERE kind = 'unknown_recipients';
UPDATE directory.notice SET kind = 'bulk_mail' WHERE kind = 'mass_mail';
UPDATE directory.notice SET kind = 'invalid_recipients' WHERE kind = 'unknown_recipients';
"""

_EIGHTH: Final = """
-- A hold suspends an account's forwarding, or its owner's filters.
ALTER TABLE directory.hold
    DROP CONSTRAINT hold_scope_check,
    ADD CONSTRAINT hold_scope_check
        CHECK (scope IN ('send', 'receive', 'login', 'forward', 'filter', 'retention'));
"""

_NINTH: Final = """
-- An original that a scan took from its recipients: a file in the gate's quarantine, of this name.
CREATE TABLE directory.quarantined_mail (
    file text PRIMARY KEY,
    octets bigint NOT NULL CHECK (octets >= 0),
    kept_at timestamptz NOT NULL DEFAULT now(),
    queue_id text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    sender text NOT NULL,                          -- the envelope's; empty for none
    subject text NOT NULL,                         -- as encoded in the header
    policy text NOT NULL,                          -- what was done with the mail
    findings jsonb NOT NULL                        -- a list of mappings: kind, name, member
);
CREATE INDEX quarantined_mail_age ON directory.quarantined_mail (kept_at);

-- For whom it is kept: for an account, or for a tenant where the mail led to no account. It goes with either.
CREATE TABLE directory.quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    file text NOT NULL REFERENCES directory.quarantined_mail ON DELETE CASCADE,
    account_id bigint REFERENCES directory.account ON DELETE CASCADE,
    tenant_id bigint REFERENCES directory.tenant ON DELETE CASCADE,
    recipient text NOT NULL,                       -- as the envelope has it
    expires_at timestamptz NOT NULL,
    CHECK ((account_id IS NULL) <> (tenant_id IS NULL))
);
CREATE INDEX quarantine_file ON directory.quarantine (file);
CREATE INDEX quarantine_account ON directory.quarantine (account_id);
CREATE INDEX quarantine_tenant ON directory.quarantine (tenant_id) WHERE tenant_id IS NOT NULL;
CREATE INDEX quarantine_expiry ON directory.quarantine (expires_at);

-- Names of viruses about which somebody decided: the gate, that mail waits for an operator; or an operator.
CREATE TABLE directory.virus_name (
    name text PRIMARY KEY,
    verdict text NOT NULL CHECK (verdict IN ('deferred', 'accepted', 'ignored')),
    since timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE directory.usage_day
    ADD virus_found bigint NOT NULL DEFAULT 0,
    ADD virus_stripped bigint NOT NULL DEFAULT 0,
    ADD virus_deleted bigint NOT NULL DEFAULT 0,
    ADD virus_refused bigint NOT NULL DEFAULT 0;
"""

#: What exists before the first migration: the tables that remember the version and the digest of the views.
FOUNDATION: Final = """
CREATE SCHEMA IF NOT EXISTS directory;
CREATE TABLE IF NOT EXISTS directory.migration (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS directory.view_text (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    sha256 text NOT NULL
);
"""

#: (version, SQL) in the order they are applied.
MIGRATIONS: Final[tuple[tuple[int, str], ...]] = (
    (1, _FIRST),
    (2, _SECOND),
    (3, _THIRD),
    (4, _FOURTH),
    (5, _FIFTH),
    (6, _SIXTH),
    (7, _SEVENTH),
    (8, _EIGHTH),
    (9, _NINTH),
)

#: The version this release reads and writes.
VERSION: Final = MIGRATIONS[-1][0]
