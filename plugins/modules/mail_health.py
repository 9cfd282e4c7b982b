#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_health
short_description: Look at a mail host from inside
version_added: "0.1.0"
description:
  - Checks services, configuration, queue, disk, log and listening ports of a host, and changes nothing.
  - A finding does not make the module fail; the playbook decides.
author:
  - mailhosting.stack authors (@mailhosting)
extends_documentation_fragment:
  - mailhosting.stack._attributes.look
options:
  units:
    description: systemd units that must be active.
    type: list
    elements: str
    default: [postfix, dovecot, postgresql@17-main]
  ports:
    description: TCP ports that must have a listener.
    type: list
    elements: int
    default: [25, 110, 143, 465, 587, 993, 995, 4190]
  paths:
    description: Folders whose file systems must have free space.
    type: list
    elements: path
    default: [/var/vmail, /var/spool/postfix, /var/lib/postgresql]
  free:
    description: Share of each file system that must be free, in percent.
    type: int
    default: 10
  deferred:
    description: Hours after which a mail that still waits in the queue is a finding.
    type: int
    default: 4
  scanners:
    description: Virus scanners (clamd) that must answer and have signatures.
    type: list
    elements: dict
    default: []
    version_added: "0.2.0"
    suboptions:
      socket:
        description: Unix socket of the scanner.
        type: path
        required: true
      signatures:
        description: Folder of its signatures.
        type: path
        required: true
      days:
        description: Days after which the newest signatures are too old.
        type: int
        required: true
  since:
    description: Errors in the journal count from this time on, in C(journalctl)'s notation.
    type: str
    default: 15 min ago
"""

EXAMPLES = r"""
- name: Look at the host from inside
  mailhosting.stack.mail_health:
    free: 20
"""

RETURN = r"""
ok:
  description: Whether every check passed.
  type: bool
  returned: always
checks:
  description: One entry for each check.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: What the check is about.
      type: str
    ok:
      description: Whether it passed.
      type: bool
    seen:
      description: What the check saw.
      type: str
table:
  description: The checks for people, one line each.
  type: list
  elements: str
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _health as health

#: Folders of the daemons' program files; a daemon with a deleted one needs a restart.
EXECUTABLES = (
    "/usr/sbin/dovecot",
    "/usr/lib/dovecot/",
    "/usr/libexec/dovecot/",
    "/usr/lib/postfix/",
    "/usr/lib/postgresql/",
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": ["postfix", "dovecot", "postgresql@17-main"]},
            "ports": {"type": "list", "elements": "int", "default": [25, 110, 143, 465, 587, 993, 995, 4190]},
            "paths": {
                "type": "list",
                "elements": "path",
                "default": ["/var/vmail", "/var/spool/postfix", "/var/lib/postgresql"],
            },
            "free": {"type": "int", "default": 10},
            "deferred": {"type": "int", "default": 4},
            "scanners": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "socket": {"type": "path", "required": True},
                    "signatures": {"type": "path", "required": True},
                    "days": {"type": "int", "required": True},
                },
            },
            "since": {"type": "str", "default": "15 min ago"},
        },
        supports_check_mode=True,
    )
    given = module.params
    checks = [
        health.services(given["units"]),
        *health.configuration({"postfix": ["postfix", "check"], "dovecot": ["doveconf", "-n"]}),
        health.binaries(EXECUTABLES),
        health.listeners(given["ports"]),
        health.queue(Path("/var/spool/postfix"), given["deferred"] * 3600),
        *health.disk(given["paths"], given["free"] / 100),
        *(
            check
            for scanner in given["scanners"]
            for check in (
                health.signatures(Path(scanner["signatures"]), scanner["days"]),
                health.scanner(scanner["socket"]),
            )
        ),
        health.journal(given["units"], given["since"]),
    ]
    module.exit_json(
        changed=False,
        ok=all(check.ok for check in checks),
        checks=[check._asdict() for check in checks],
        table=[check.as_row() for check in checks],
    )


if __name__ == "__main__":
    main()
