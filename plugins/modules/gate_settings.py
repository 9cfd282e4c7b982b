#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gate_settings
short_description: Check the variables of the role gate, and convert them for its program
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Reads texts and limits on the controller, with the syntax of plans, and changes nothing.
  - The role P(mailhosting.stack.gate#role) runs it first. An error names the role's variable.
options:
  texts:
    description:
      - Replies to clients that replace the default ones, by name. Each has a code that begins with 4 or 5, perhaps an
        enhanced status code (RFC 3463), and words in printable ASCII, at most 510 characters together.
      - Names are V(message_size), V(limit), V(full), V(bulk_mail), V(invalid_recipients), V(virus), V(suspicious),
        V(encrypted), V(unreadable), V(partial), V(file_type), V(unpacked_size), V(content_size) and V(structure).
    type: dict
    default: {}
  send_limits:
    description: Limits of what the whole host sends, written like those of a plan. A pause stops only sending, unless
      C(pause_applies_to) has another direction.
    type: list
    elements: dict
    default: []
  receive_limits:
    description: Limits of what the whole host receives, likewise.
    type: list
    elements: dict
    default: []
notes:
  - It also fails if a variable of the host has nearly the name of one that roles share, such as C(mail_bas), or is one
    of an earlier release, and says which is meant.
attributes:
  check_mode:
    description: There is nothing that it changes.
    support: full
  diff_mode:
    description: Shows nothing.
    support: none
  idempotent:
    description: There is nothing that it changes.
    support: full
seealso:
  - module: mailhosting.stack.mail_limits
"""

EXAMPLES = r"""
- name: Check limits of the whole host, and a text
  mailhosting.stack.gate_settings:
    texts: {full: 452 4.2.2 Mailbox full}
    send_limits: [{messages: 20000, per: 1h}, {recipients: 5000, per: 1m, pause: 10m}]
  register: settings
"""

RETURN = r"""
texts:
  description: All texts by name. Each has a code, an enhanced status code or null, and words.
  type: dict
  returned: success
  sample: {full: ["452", "4.2.2", "Mailbox full"]}
send_limits:
  description: Limits with times in seconds.
  type: list
  elements: dict
  returned: success
  sample: [{messages: 20000, per: 3600, pause: null, pause_applies_to: [send]}]
receive_limits:
  description: Limits with times in seconds.
  type: list
  elements: dict
  returned: success
  sample: []
"""
