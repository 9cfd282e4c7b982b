#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: certificates
short_description: Keep the certificates of a mail host in one folder
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Keeps one certificate for the shared name and one for each host name of its own, in one task whatever their number.
  - They come from a small certificate authority of this host, or from files that are already on the host.
  - A certificate and its key are replaced together by one rename, so that a daemon never reads one without the other.
requirements:
  - python3-cryptography on the host
options:
  path:
    description:
      - Folder on the host. It will hold C(shared/) and C(names/HOSTNAME/), each with C(fullchain.pem) and C(key.pem),
        and C(ca.pem) with the own CA.
      - Keys have mode 0600.
    type: path
    required: true
  shared_name:
    description: Name, or IP address, of the certificate that serves every client that asks for none of O(host_names).
    type: str
    required: true
  shared_extra_names:
    description: More names and IP addresses for the shared certificate.
    type: list
    elements: str
    default: []
  host_names:
    description: Names that get a certificate of their own.
    type: list
    elements: str
    default: []
  producer:
    description:
      - V(own_ca) makes a certificate authority (EC P-256, 10 years) once and issues certificates from it. Clients
        have to trust C(ca.pem).
      - V(files) takes what O(files) names.
    type: str
    choices: [own_ca, files]
    default: own_ca
  days:
    description: How long an issued certificate lasts, at most 365.
    type: int
    default: 90
  renew_days:
    description: An issued certificate is renewed when fewer days than these are left.
    type: int
    default: 30
  files:
    description:
      - Certificates on the host, e.g. those of an ACME client. What names each one serves is read from it; wildcards
        count.
      - A name that none of them covers is an error.
    type: list
    elements: dict
    default: []
    suboptions:
      certificate:
        description: PEM file with the certificate and its chain.
        type: path
        required: true
      key:
        description: PEM file with its private key, without a passphrase.
        type: path
        required: true
  purge:
    description:
      - What to do about certificates of host names that are not in O(host_names).
      - V(later) reports a change, so that a handler can remove them with V(now) once no configuration names them.
    type: str
    choices: [now, later, never]
    default: now
attributes:
  check_mode:
    description: Says what would be issued, renewed and removed.
    support: full
  diff_mode:
    description: Shows names and expiry of what changes, never a key.
    support: full
"""

EXAMPLES = r"""
- name: Issue certificates from the host's own CA
  mailhosting.stack.certificates:
    path: /etc/mailhosting/tls
    shared_name: mail.provider.example
    host_names: [pop3.acme.example, smtp.acme.example]
  notify: Certificates changed

- name: Use the certificates of an ACME client
  mailhosting.stack.certificates:
    path: /etc/mailhosting/tls
    shared_name: mail.provider.example
    producer: files
    files:
      - certificate: /etc/letsencrypt/live/mail.provider.example/fullchain.pem
        key: /etc/letsencrypt/live/mail.provider.example/privkey.pem
  notify: Certificates changed
"""

RETURN = r"""
issued:
  description: Host names that had no certificate and got one, and V(shared).
  type: list
  elements: str
  returned: success
  sample: [smtp.acme.example]
renewed:
  description: Host names whose certificate was replaced, and V(shared).
  type: list
  elements: str
  returned: success
  sample: [shared]
removed:
  description: Host names whose certificate was removed, or with O(purge=later) will be.
  type: list
  elements: str
  returned: success
  sample: []
ca_changed:
  description: Whether C(ca.pem) is a new one.
  type: bool
  returned: success
not_after:
  description: When the first of all certificates expires.
  type: str
  returned: when the library is there
  sample: "2027-02-19T21:00:00Z"
"""

import contextlib
import ipaddress
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificate_store as store
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificates as certificates
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import syntax


def shared_name(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        # A host in a network of its own may have no domain.
        return syntax.hostname(text) if "." in text else text.lower()


def make_producer(options: dict[str, Any]) -> certificates.Producer:
    now = datetime.now(UTC)
    if options["producer"] == "own_ca":
        name = f"Mail CA of {options['shared_name']}"
        kept = store.read_authority(options["path"])
        return certificates.OwnCA(kept, name, now, options["days"], options["renew_days"])
    pairs = [(item["certificate"], store.read_pair(item["certificate"], item["key"])) for item in options["files"]]
    return certificates.GivenFiles(pairs, now)


def bring(module: AnsibleModule) -> dict[str, Any]:
    """Compare, and unless in check mode write."""
    options = module.params
    shared = frozenset(map(shared_name, [options["shared_name"], *options["shared_extra_names"]]))
    host_names = sorted(set(map(syntax.hostname, options["host_names"])))
    producer = make_producer(options)
    plan = store.compare(options["path"], shared, host_names, producer, purge=options["purge"] != "never")
    if plan.changed and not module.check_mode:
        store.apply(options["path"], plan, purge=options["purge"] == "now")
    for warning in producer.warnings:
        module.warn(warning)
    result = {
        "changed": plan.changed,
        "issued": plan.named(new=True),
        "renewed": plan.named(new=False),
        "removed": [store.host_name(link) for link in plan.stale],
        "ca_changed": bool(plan.authority),
        "not_after": plan.not_after,
    }
    return {**result, "diff": plan.diff()} if module._diff else result


def main() -> None:
    list_of_names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "shared_name": {"type": "str", "required": True},
            "shared_extra_names": list_of_names,
            "host_names": list_of_names,
            "producer": {"type": "str", "choices": ["own_ca", "files"], "default": "own_ca"},
            "days": {"type": "int", "default": 90},
            "renew_days": {"type": "int", "default": 30},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "certificate": {"type": "path", "required": True},
                    "key": {"type": "path", "required": True, "no_log": False},
                },
            },
            "purge": {"type": "str", "choices": ["now", "later", "never"], "default": "now"},
        },
        supports_check_mode=True,
    )
    if certificates.CRYPTOGRAPHY_ERROR:
        if module.check_mode:
            # The package comes with the real run, and so does every certificate.
            names = ["shared", *module.params["host_names"]]
            module.exit_json(changed=True, issued=names, renewed=[], removed=[], ca_changed=True)
        module.fail_json(msg=missing_required_lib("cryptography"), exception=certificates.CRYPTOGRAPHY_ERROR)
    try:
        with contextlib.nullcontext() if module.check_mode else store.locked(module.params["path"]):
            result = bring(module)
    except (certificates.CertificateError, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
