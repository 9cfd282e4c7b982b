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
  - They come from a small certificate authority of this host, from files that are already on the host, or from an ACME
    server (RFC 8555), one for each name.
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
    description: Name, or IP address, of the certificate for clients that ask for none of O(host_names).
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
      - V(files) takes the certificates of O(files). Before it installs one, OpenSSL tests it by a handshake like that
        of a daemon and a mail program. One that cannot be used is an error that names the file and the reason.
      - V(acme) takes the certificates that an ACME client has obtained, and runs the client once if some are missing or
        due. A name without one keeps its current certificate, or gets one of the own CA, with a warning.
    type: str
    choices: [own_ca, files, acme]
    default: own_ca
  days:
    description: How long a certificate of the own CA lasts, at most 365.
    type: int
    default: 90
  renew_days:
    description:
      - A certificate is renewed when fewer days than these are left. One of ACME is not renewed before two thirds of
        its life are over.
    type: int
    default: 30
  files:
    description:
      - Certificates on the host, e.g. those of an ACME client. The module reads the names from each one, wildcards too.
      - A name that none of them covers is an error.
      - The module installs them in the form that daemons read. It corrects missing newlines, CRLF, another order and
        DER, and leaves out certificates that do not belong to the chain.
    type: list
    elements: dict
    default: []
    suboptions:
      certificate:
        description: PEM file with the certificate and its chain.
        type: path
        required: true
      key:
        description: PEM file with its private key, without a passphrase. It may be the same file.
        type: path
        required: true
  files_ca_file:
    description:
      - PEM file on the host with CAs that mail programs trust, besides those of the host's system.
      - A chain of O(files) has to end at one of these, at a root that is in its own file, or at the host's own CA.
    type: path
    version_added: "0.2.0"
  acme:
    description:
      - Settings of O(producer=acme). The module keeps them in C(acme.json) in O(path) for the client's timer; any other
        producer removes that file.
      - Certificates obtained before the file C(renew) in O(path) was touched are renewed.
    type: dict
    suboptions:
      directory:
        description: URL of the server's directory.
        type: str
        required: true
      agree_tos:
        description: Whether you agree to the server's terms of service. Nothing is ordered otherwise.
        type: bool
        required: true
      contact:
        description: Mail address for the account, or empty.
        type: str
        default: ""
      ca_file:
        description: PEM file on the host with the CAs to trust for O(acme.directory). Empty means those of the system.
        type: str
        default: ""
      http_port:
        description: Port where the client answers http-01. The server asks port 80 of every name.
        type: int
        default: 80
      max_orders:
        description: Most certificates that one run orders; the next run orders more.
        type: int
        default: 100
      commands:
        description: Commands that notify the daemons of a certificate that the timer's run obtained.
        type: list
        elements: str
        default: []
      order_command:
        description: Command that obtains missing and due certificates by C(acme.json). Empty orders nothing in this
          run.
        type: list
        elements: str
        default: [systemctl, start, mailhosting-acme-order.service]
      state:
        description: Folder of the client.
        type: path
        default: /var/lib/mailhosting-acme
  purge:
    description:
      - What to do about certificates of host names that are not in O(host_names).
      - V(later) reports a change, so that a handler can remove them with V(now) once no configuration names them.
    type: str
    choices: [now, later, never]
    default: now
attributes:
  check_mode:
    description: Returns what would be issued, renewed and removed.
    support: full
  diff_mode:
    description: Shows names and expiry of changed certificates, never a key.
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

- name: Obtain certificates from an ACME server
  mailhosting.stack.certificates:
    path: /etc/mailhosting/tls
    shared_name: mail.provider.example
    host_names: [pop3.acme.example]
    producer: acme
    acme:
      directory: https://acme.provider.example/directory
      agree_tos: true
      contact: hostmaster@provider.example
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
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificate_acme as acme
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificate_pem as pem
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificate_store as store
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificates as certificates
from ansible_collections.mailhosting.stack.plugins.module_utils._certificate_judge import Judge
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import syntax

ORDER_COMMAND = ["systemctl", "start", "mailhosting-acme-order.service"]


def shared_name(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        # A host in a private network may have no domain.
        return syntax.hostname(text) if "." in text else text.lower()


def acme_settings(options: dict[str, Any], shared: frozenset[str], host_names: list[str]) -> acme.Settings:
    """The settings for ACME.

    Raises: CertificateError for names that no ACME server can certify.
    """
    given = options["acme"]
    if not given["agree_tos"]:
        raise certificates.CertificateError("acme: nothing is ordered until agree_tos says that you agree to the terms")
    first = shared_name(options["shared_name"])
    for name in sorted(shared):
        if "." not in name or name.replace(".", "").isdigit() or ":" in name:
            raise certificates.CertificateError(f"acme: no server certifies {name!r}: full host names only")
    return acme.Settings(
        shared=[first, *sorted(shared - {first})],
        host_names=host_names,
        days=options["days"],
        renew_days=options["renew_days"],
        **{key: given[key] for key in ("directory", "contact", "ca_file", "http_port", "max_orders", "commands")},
    )


def obtain(module: AnsibleModule, settings: acme.Settings) -> list[str]:
    """Order the certificates that are missing or due; in check mode return what would be ordered."""
    path, state = module.params["path"], module.params["acme"]["state"]
    command = module.params["acme"]["order_command"]
    missing = acme.due(settings, path, state, datetime.now(UTC)) if command else []
    if not missing or module.check_mode:
        return missing
    status, _output, error = module.run_command(command)
    if status:
        module.warn(f"{' '.join(command)} failed: {error.strip()}")
    if fault := acme.without(settings, path, state, datetime.now(UTC)):
        module.warn(fault)
    return []


def make_producer(options: dict[str, Any], settings: acme.Settings | None) -> certificates.Producer:
    now = datetime.now(UTC)
    if settings:
        return acme.producer(settings, options["path"], options["acme"]["state"], now)
    if options["producer"] == "own_ca":
        name = f"Mail CA of {options['shared_name']}"
        kept = store.read_authority(options["path"])
        return certificates.OwnCA(kept, name, now, options["days"], options["renew_days"])
    pairs = [(item["certificate"], given(item)) for item in options["files"]]
    return certificates.GivenFiles(pairs, now, Judge(certificates.Trust.SYSTEM, authorities(options)))


def given(item: dict[str, str]) -> certificates.Pair | None:
    """The pair in two files, in the form of the daemons; None if one is missing.

    Raises: CertificateError if it cannot be used.
    """
    pair = store.read_pair(item["certificate"], item["key"])
    try:
        return pem.mended(pair) if pair else None
    except certificates.CertificateError as error:
        raise certificates.CertificateError(f"{item['certificate']}: {error}") from None


def authorities(options: dict[str, Any]) -> str:
    """PEM of the CAs in the options, and of the own CA, which clients may still trust.

    Raises: CertificateError if one of them cannot be read.
    """
    own = store.read_authority(options["path"])
    found = [own.chain] if own else []
    if options["files_ca_file"]:
        with open(options["files_ca_file"], "rb") as file:
            found.append(file.read())
    try:
        return "".join(pem.certificates(text) for text in found if text)
    except certificates.CertificateError as error:
        raise certificates.CertificateError(f"files_ca_file: {error}") from None


def bring(module: AnsibleModule) -> dict[str, Any]:
    """Compare the folder, and write it unless in check mode."""
    options = module.params
    shared = frozenset(map(shared_name, [options["shared_name"], *options["shared_extra_names"]]))
    host_names = sorted(set(map(syntax.hostname, options["host_names"])))
    settings = acme_settings(options, shared, host_names) if options["producer"] == "acme" else None
    changed = acme.write_settings(options["path"], settings, dry=module.check_mode)
    orders = obtain(module, settings) if settings else []
    producer = make_producer(options, settings)
    plan = store.compare(options["path"], shared, host_names, producer, purge=options["purge"] != "never")
    if plan.changed and not module.check_mode:
        store.apply(options["path"], plan, purge=options["purge"] == "now")
    for warning in producer.warnings:
        module.warn(warning)
    result = {
        "changed": plan.changed or changed or bool(orders),
        "issued": plan.named(new=True),
        "renewed": plan.named(new=False),
        "removed": [store.host_name(link) for link in plan.stale],
        "ca_changed": bool(plan.authority),
        "not_after": plan.not_after,
    }
    diff = plan.diff()
    diff["after"] += "".join(f"{name}: to be ordered by ACME\n" for name in orders)
    return {**result, "diff": diff} if module._diff else result


def main() -> None:
    list_of_names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "shared_name": {"type": "str", "required": True},
            "shared_extra_names": list_of_names,
            "host_names": list_of_names,
            "producer": {"type": "str", "choices": ["own_ca", "files", "acme"], "default": "own_ca"},
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
            "files_ca_file": {"type": "path"},
            "acme": {
                "type": "dict",
                "options": {
                    "directory": {"type": "str", "required": True},
                    "agree_tos": {"type": "bool", "required": True},
                    "contact": {"type": "str", "default": ""},
                    "ca_file": {"type": "str", "default": ""},
                    "http_port": {"type": "int", "default": 80},
                    "max_orders": {"type": "int", "default": 100},
                    "commands": list_of_names,
                    "order_command": {"type": "list", "elements": "str", "default": ORDER_COMMAND},
                    "state": {"type": "path", "default": acme.STATE},
                },
            },
            "purge": {"type": "str", "choices": ["now", "later", "never"], "default": "now"},
        },
        required_if=[("producer", "acme", ["acme"])],
        supports_check_mode=True,
    )
    if certificates.CRYPTOGRAPHY_ERROR:
        if module.check_mode:
            # In check mode the package is missing, so every certificate would change.
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
