# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What identifies a host: no other host has it, and it stays as long as the host."""

from __future__ import annotations

import testinfra

#: Created by Debian, by Debian's packages, and by the collection.
FILES = (
    "/etc/machine-id",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssl/private/ssl-cert-snakeoil.key",
    "/etc/postsrsd.secret",
    "/etc/mailhosting/fingerprint.key",
    "/etc/mailhosting/legacy.keys",
    "/etc/mailhosting/loopback.pem",
    "/etc/mailhosting/tls/ca.key",
    "/etc/mailhosting/tls/ca.pem",
    "/etc/mailhosting/tls/shared/key.pem",
    "/etc/mailhosting/valkey/admin",
    "/etc/mailhosting/valkey/gate",
    "/etc/mailhosting/valkey/policy",
    "/etc/mailhosting/valkey/usage",
)
#: PostgreSQL's system identifier.
CLUSTER = "cluster"
CLUSTER_ID = 'runuser -u postgres -- psql -Atc "SELECT system_identifier FROM pg_control_system()"'


def of(host: testinfra.host.Host) -> dict[str, str]:
    """A digest of each of `FILES` by its path, and the number of `CLUSTER`; fails if a file is missing."""
    lines = host.check_output(f"cd / && sha256sum {' '.join(FILES)}").splitlines()
    digests = dict(reversed(line.split("  ", 1)) for line in lines)
    return {**digests, CLUSTER: str(host.check_output(f"cd / && {CLUSTER_ID}"))}
