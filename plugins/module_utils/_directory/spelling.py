# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A function of schema `v1` that turns a login such as `info@日本語.example` into the directory's spelling.

PRIVATE to the collection: it can have breaking changes at any time.

The directory stores domains as A-labels only.  A user may type every form that IDNA (UTS 46) maps to the same domain:
A-labels or U-labels, composed or not, capitals, full-width letters, an ideographic full stop.  The function computes
the mapping, so no table has to keep in step with the domains.
"""

from __future__ import annotations

from typing import Final

from .lookups import PLANNING

_FUNCTIONS: Final = f"""
-- A label of a domain as Punycode has it (RFC 3492 6.3), with the prefix of RFC 5890.
CREATE FUNCTION v1.a_label(label text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    digits CONSTANT text := 'abcdefghijklmnopqrstuvwxyz0123456789';
    points CONSTANT integer[] := ARRAY(SELECT ascii(letter) FROM regexp_split_to_table(label, '') AS letter);
    plain CONSTANT text := regexp_replace(label, '[^\\x01-\\x7f]', '', 'g');
    basic CONSTANT integer := length(plain);
    written text := plain || CASE WHEN basic > 0 THEN '-' ELSE '' END;
    handled integer := basic;
    reached integer := 128;
    lowest integer;
    point integer;
    delta integer := 0;
    bias integer := 72;
    rest integer;
    place integer;
    threshold integer;
BEGIN
    IF basic = cardinality(points) THEN RETURN label; END IF;
    WHILE handled < cardinality(points) LOOP
        SELECT min(p) INTO lowest FROM unnest(points) AS p WHERE p >= reached;
        delta := delta + (lowest - reached) * (handled + 1);
        reached := lowest;
        FOREACH point IN ARRAY points LOOP
            IF point < reached THEN
                delta := delta + 1;
            ELSIF point = reached THEN
                rest := delta;
                place := 36;
                LOOP
                    threshold := greatest(1, least(26, place - bias));
                    EXIT WHEN rest < threshold;
                    written := written || substr(digits, threshold + (rest - threshold) % (36 - threshold) + 1, 1);
                    rest := (rest - threshold) / (36 - threshold);
                    place := place + 36;
                END LOOP;
                written := written || substr(digits, rest + 1, 1);
                delta := delta / CASE WHEN handled = basic THEN 700 ELSE 2 END;
                delta := delta + delta / (handled + 1);
                place := 0;
                WHILE delta > 455 LOOP
                    delta := delta / 35;
                    place := place + 36;
                END LOOP;
                bias := place + 36 * delta / (delta + 38);
                delta := 0;
                handled := handled + 1;
            END IF;
        END LOOP;
        delta := delta + 1;
        reached := reached + 1;
    END LOOP;
    RETURN 'xn--' || written;
END $$;

-- The login that `octets` (UTF-8 in hex) spell; NULL if they cannot be a login here.
CREATE FUNCTION v1.spelled(octets text) RETURNS TABLE (username text, local_part text, domain text)
LANGUAGE plpgsql STABLE {PLANNING} AS $$
#variable_conflict use_column
DECLARE
    written text;
    parts text[];
BEGIN
    -- An address has at most 254 characters, a label 63: this bounds the work that a stranger can cause.
    IF length(octets) > 2048 OR octets !~ '^([0-9a-f][0-9a-f])+$' THEN RETURN; END IF;
    BEGIN
        written := normalize(convert_from(decode(octets, 'hex'), 'UTF8'), NFKC);
    EXCEPTION WHEN character_not_in_repertoire THEN
        RETURN;
    END;
    -- lower() turns a capital sigma at the end of a word into another letter.
    written := normalize(lower(translate(written, 'Σ。%', 'σ.@') COLLATE "und-x-icu"), NFKC);
    parts := regexp_match(written, '^([a-z0-9._:-]{{1,64}})@((?:[^@.]{{1,63}}[.])+[^@.]{{1,63}})$');
    IF parts IS NULL THEN RETURN; END IF;
    SELECT string_agg(v1.a_label(label), '.' ORDER BY number) INTO written
    FROM regexp_split_to_table(parts[2], '[.]') WITH ORDINALITY AS l (label, number);
    IF written ~ '^[a-z0-9.-]{{1,253}}$' THEN
        RETURN QUERY SELECT parts[1] || '@' || written, parts[1], written;
    END IF;
END $$;
GRANT EXECUTE ON FUNCTION v1.a_label, v1.spelled TO dovecot, "mailhosting-password";
"""  # noqa: S608 - a constant


def text() -> str:
    """The SQL that creates the function and grants it to Dovecot."""
    return _FUNCTIONS
