# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables that several roles share, the ones of earlier releases, and what looks like a slip.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

#: What docs/variables.md describes.
SHARED: Final = frozenset(
    {
        "mail_addresses_dir",
        "mail_base",
        "mail_challenge_auth",
        "mail_clamd_group",
        "mail_clamd_socket",
        "mail_end_sessions_socket",
        "mail_hostname",
        "mail_lenient_domains",
        "mail_logins_socket",
        "mail_loopback_port",
        "mail_message_size_limit",
        "mail_plans",
        "mail_scans",
        "mail_secrets_dir",
        "mail_srs_domain",
        "mail_tenants_dir",
        "mail_timezone",
        "mail_tls_dir",
        "mail_valkey_group",
        "mail_valkey_passwords",
        "mail_valkey_socket",
        "mail_vmail_uid",
    }
)
#: What does now what a role's variable of release 0.1.0 did.
FORMER: Final = {
    "dovecot_quota_notice": "dovecot_quota_warnings",
    "gate_mail_base": "mail_base",
    "notices_mail_base": "mail_base",
    "notices_quota_calendar": "usage_compare_at",
    "notices_quota_spread": "usage_compare_at",
    "password_mail_base": "mail_base",
    "policy_mail_base": "mail_base",
    "postfix_gate": "postfix_milters",
    "retention_mail_base": "mail_base",
}
#: How much of two names must be the same (difflib) for one to be a slip of the other.  `mail_domain`, which may be an
#: operator's own, shares 0.85 with `mail_srs_domain`; a wrong letter in the shortest name leaves 0.89.
_NEAR: Final = 0.87


def problems(names: Iterable[str]) -> list[str]:
    """A line for each of a host's variables that is one of an earlier release, or nearly a shared one."""
    found = []
    for name in sorted(names):
        if name in FORMER:
            found.append(f"{name}: is no variable any more, {FORMER[name]} is (docs/upgrading.md)")
        elif name.startswith("mail_") and name not in SHARED:
            found += [
                f"{name}: is no variable of this collection; is {meant} meant? (docs/variables.md)"
                for meant in get_close_matches(name, SHARED, n=1, cutoff=_NEAR)
            ]
    return found
