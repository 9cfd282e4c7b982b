#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_tls
short_description: Check that every TLS port of a mail host answers with the right certificates
version_added: "0.2.0"
description:
  - Begins a session on each port as a mail program does, for the shared name, each host name by SNI, and without SNI.
  - Compares each served chain with the certificates that M(mailhosting.stack.certificates) has installed.
  - Run it on the mail host. It logs in nowhere and changes nothing.
  - A finding does not make the module fail; the playbook decides.
author:
  - mailhosting.stack authors (@mailhosting)
extends_documentation_fragment:
  - mailhosting.stack._attributes.look
options:
  path:
    description: Folder of the certificates.
    type: path
    default: /etc/mailhosting/tls
  shared_name:
    description: Name of the certificate for clients that ask for none of O(host_names).
    type: str
    required: true
  host_names:
    description: Names that have a certificate of their own.
    type: list
    elements: str
    default: []
  protocols:
    description: Names of the ports to check.
    type: list
    elements: str
    choices: [smtp, pop3, imap, submissions, submission, imaps, pop3s, sieve]
    default: [smtp, pop3, imap, submissions, submission, imaps, pop3s, sieve]
  address:
    description: Host name or IP address to connect to.
    type: str
    default: 127.0.0.1
  most:
    description:
      - Most handshakes beside those for the shared name; 200 take about a second.
      - With more names and ports the module asks for each name once for each daemon. If that is still too many, it asks
        for every second name, or third, and so on.
    type: int
    default: 200
  patience:
    description: Seconds for which the module repeats failed handshakes, because daemons may be starting.
    type: float
    default: 0.0
"""

EXAMPLES = r"""
- name: Look whether all ports and names have TLS
  mailhosting.stack.mail_tls:
    shared_name: mail.provider.example
    host_names: [pop3.acme.example]
    protocols: [smtp, submission, submissions, pop3s, imaps]
"""

RETURN = r"""
ok:
  description: Whether every handshake was answered with the right certificate.
  type: bool
  returned: always
faults:
  description: The faults, by port and name; at most 100.
  type: list
  elements: str
  returned: always
  sample: ["imaps (993), mail.acme.example: another certificate is served"]
table:
  description: The results for people, one line for each port.
  type: list
  elements: str
  returned: always
  sample: ["ok    TLS on imaps (993)                                    3 names"]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _tls

SHOWN = 100


def main() -> None:
    every = list(_tls.PORTS)
    names = {"type": "list", "elements": "str"}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/mailhosting/tls"},
            "shared_name": {"type": "str", "required": True},
            "host_names": {**names, "default": []},
            "protocols": {**names, "choices": every, "default": every},
            "address": {"type": "str", "default": "127.0.0.1"},
            "most": {"type": "int", "default": 200},
            "patience": {"type": "float", "default": 0.0},
        },
        supports_check_mode=True,
    )
    given = module.params
    host = _tls.Host(given["address"], given["path"], given["shared_name"], given["host_names"])
    protocols = [name for name in every if name in given["protocols"]]
    answers = _tls.ask(host, _tls.questions(host, protocols, given["most"]), given["patience"])
    faults = [answer.as_text() for answer in answers if answer.fault]
    module.exit_json(
        changed=False,
        ok=not faults,
        faults=faults[:SHOWN],
        table=_tls.table(host, answers),
        msg="\n".join(["Not every port has TLS:", *faults[:SHOWN]]) if faults else "Every port has TLS.",
    )


if __name__ == "__main__":
    main()
