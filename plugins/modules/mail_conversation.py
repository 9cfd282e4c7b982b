#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_conversation
short_description: Talk to a mail host as a mail program would
version_added: "0.1.0"
description:
  - Sends mail by submission, reads it back by POP3 and IMAP, removes it again, and tries what the host must reject.
  - Every connection verifies the host's certificate.
  - Run it where the clients are, so usually delegated to the controller.
author:
  - mailhosting.stack authors (@mailhosting)
options:
  address:
    description: Host name or IP address to connect to.
    type: str
    required: true
  tls_name:
    description: Name that the host's certificate must have. The O(address) if not given.
    type: str
  authorities:
    description: Certificates of CAs to trust, in PEM. Those of the system if not given.
    type: str
  protocols:
    description: Protocols that the plans of both accounts offer; only these are used.
    type: list
    elements: str
    choices: [pop3, pop3s, imap, imaps, submission, submissions]
    default: [pop3, pop3s, imap, imaps, submission, submissions]
  sender:
    description:
      - Account that sends.
      - Without O(sender) and O(recipient) the module tries only what needs no login.
    type: dict
    suboptions: &account
      address:
        description: Its address, which is also its login.
        type: str
        required: true
      password:
        description: Its password.
        type: str
        required: true
  recipient:
    description: Account that receives. May be the sender.
    type: dict
    suboptions: *account
  cleartext_auth:
    description:
      - Whether a plan of the host allows passwords without TLS.
      - Such a host checks every password that comes without TLS, so its reply to a wrong one may say that it is wrong.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for each network operation.
    type: float
    default: 10.0
  delivery_timeout:
    description: Seconds until an accepted mail must be readable.
    type: float
    default: 30.0
attributes:
  check_mode:
    support: none
    description: The module can only test a host by talking to it.
  diff_mode:
    support: none
    description: There is nothing to compare.
"""

EXAMPLES = r"""
- name: Talk to the host as two of its users
  mailhosting.stack.mail_conversation:
    address: mx1.provider.example
    sender: {address: check@provider.example, password: "{{ check_password }}"}
    recipient: {address: check@provider.example, password: "{{ check_password }}"}
  delegate_to: localhost
"""

RETURN = r"""
ok:
  description: Whether every step succeeded.
  type: bool
  returned: always
steps:
  description: One entry for each step, in the order of the steps.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: What the step does.
      type: str
    ok:
      description: Whether the host's reply was right.
      type: bool
    answer:
      description: The host's reply, or the error.
      type: str
    seconds:
      description: How long the step took.
      type: float
table:
  description: The steps for people, one line each.
  type: list
  elements: str
  returned: always
  sample:
    - "ok    send by submission (587, STARTTLS)    0.12 s  accepted: taro@acme.example -> bill@bolt.example"
"""

import ssl
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._conversation import Conversation, Login, Server, TLSContext
from ..module_utils._directory import syntax


def _login(module: AnsibleModule, option: str) -> Login | None:
    """The account in an option, its domain as A-labels."""
    given = module.params[option]
    if given is None:
        return None
    address = ""
    try:
        address = syntax.target(given["address"])
    except ValueError as error:
        module.fail_json(msg=f"{option}: {error}")
    return Login(address, given["password"])


def main() -> None:
    login: dict[str, Any] = {
        "type": "dict",
        "options": {
            "address": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
        },
    }
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "tls_name": {"type": "str"},
            "authorities": {"type": "str"},
            "protocols": {
                "type": "list",
                "elements": "str",
                "choices": ["pop3", "pop3s", "imap", "imaps", "submission", "submissions"],
                "default": ["pop3", "pop3s", "imap", "imaps", "submission", "submissions"],
            },
            "sender": login,
            "recipient": login,
            "cleartext_auth": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 10.0},
            "delivery_timeout": {"type": "float", "default": 30.0},
        },
        required_together=[("sender", "recipient")],
    )
    given = module.params
    try:
        context = TLSContext(given["tls_name"] or given["address"], given["authorities"])
    except ssl.SSLError as error:
        module.fail_json(msg=f"authorities: not certificates in PEM: {error}")
    conversation = Conversation(
        server=Server(given["address"], context, given["timeout"]),
        protocols=tuple(given["protocols"]),
        sender=_login(module, "sender"),
        recipient=_login(module, "recipient"),
        cleartext_auth=given["cleartext_auth"],
        delivery_timeout=given["delivery_timeout"],
    )
    steps = list(conversation.steps())
    module.exit_json(
        changed=False,
        ok=all(step.ok for step in steps),
        steps=[asdict(step) for step in steps],
        table=[step.as_row() for step in steps],
    )


if __name__ == "__main__":
    main()
