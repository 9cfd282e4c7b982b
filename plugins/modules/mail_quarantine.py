#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_quarantine
short_description: Show, release and drop mail that a virus scan took from its recipients
version_added: "0.2.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Shows the entries of the quarantine. An entry is the original of one mail for one account, or for a tenant where the
    mail led to no account.
  - Releases entries. The mail is scanned again with today's signatures, and delivered to the account's own mailbox,
    without filters and forwarding.
  - Drops entries. The file of a mail is deleted with its last entry.
  - Runs the command C(mailhosting quarantine) on the host, as root; the quarantine is that of
    P(mailhosting.stack.gate#role).
options:
  id:
    description: Show, release or drop these entries.
    type: list
    elements: int
  name:
    description:
      - Show the entries of this tenant, by its name, or of this account, by its address.
      - V(#17) stands for a closed account. Not together with O(id).
    type: str
  search:
    description:
      - Show entries that have this text in the sender, recipient, subject, queue id, or in the name of a virus or of an
        infected file, in small or capital letters. Not together with O(id).
    type: str
  state:
    description:
      - V(queried) changes nothing.
      - V(released) delivers the mail of O(id). It fails for mail that is still infected, for an entry without an
        account, and for an account that takes no mail; these entries stay.
      - V(dropped) deletes the entries of O(id).
    type: str
    choices: [queried, released, dropped]
    default: queried
  infected:
    description: Release also mail in which a virus is still found.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Returns which entries would be released or dropped. It scans nothing.
  diff_mode:
    support: full
    description: Shows the entries.
  idempotent:
    support: full
    description: An entry that is not in the quarantine any more is neither released nor dropped again.
seealso:
  - module: mailhosting.stack.mail_limits
"""

EXAMPLES = r"""
- name: Show what is kept for an account
  mailhosting.stack.mail_quarantine:
    name: taro@acme.example
  register: quarantine

- name: Find a mail
  mailhosting.stack.mail_quarantine:
    search: invoice.zip

- name: Deliver a mail that a bad signature took
  mailhosting.stack.mail_quarantine:
    id: [17]
    state: released

- name: Delete mail
  mailhosting.stack.mail_quarantine:
    id: "{{ quarantine.entries | map(attribute='id') }}"
    state: dropped
"""

RETURN = r"""
entries:
  description: The entries, the oldest first; in check mode also those that would be released or dropped.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: The number of the entry.
      type: int
    tenant:
      description: Name of the tenant.
      type: str
    address:
      description: Address of the account, the last one if it is closed; V(null) if the entry is the tenant's.
      type: str
    direction:
      description: V(inbound) if the mail was received, V(outbound) if it was sent.
      type: str
    sender:
      description: The sender of the envelope; empty for none.
      type: str
    recipient:
      description: The recipient of the envelope; the first one of mail that was sent.
      type: str
    subject:
      description: The subject, decoded.
      type: str
    policy:
      description: What was done with the mail, as the plan's C(virus) names it.
      type: str
    findings:
      description: What was found.
      type: list
      elements: dict
      contains:
        kind:
          description: Kind of the finding, such as V(virus).
          type: str
        name:
          description: Name of the signature, or of what was recognised.
          type: str
        member:
          description: Path of the file inside an archive; V(null) if it was none.
          type: str
    octets:
      description: Size of the mail.
      type: int
    queue_id:
      description: Postfix's id of the mail.
      type: str
    kept_at:
      description: When it was put into quarantine, in seconds since 1970.
      type: int
    expires_at:
      description: When it is deleted, in seconds since 1970.
      type: int
  sample:
    - id: 17
      tenant: acme
      address: taro@acme.example
      direction: inbound
      sender: somebody@elsewhere.example
      recipient: sales@acme.example
      subject: Invoice
      policy: strip
      findings:
        - {kind: virus, name: Win.Test.EICAR_HDB-1, member: invoice/invoice.exe}
      octets: 21400
      queue_id: 4fXYzZ1234z9Q
      kept_at: 1795320000
      expires_at: 1795924800
released:
  description: Entries that were, or in check mode would be, released; the form is that of RV(entries).
  type: list
  elements: dict
  returned: success
  sample: []
dropped:
  description: Entries that were, or in check mode would be, dropped; the form is that of RV(entries).
  type: list
  elements: dict
  returned: success
  sample: []
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule

_COMMAND = "mailhosting"
_COMMANDS = {"released": "release", "dropped": "drop"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "id": {"type": "list", "elements": "int"},
            "name": {"type": "str"},
            "search": {"type": "str"},
            "state": {"type": "str", "choices": ["queried", *_COMMANDS], "default": "queried"},
            "infected": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("id", "name"), ("id", "search")],
        required_if=[("state", state, ["id"]) for state in _COMMANDS],
        supports_check_mode=True,
    )
    state: str = module.params["state"]
    before = _entries(module)
    done: dict[str, list[dict[str, Any]]] = {key: before if key == state else [] for key in _COMMANDS}
    after = before
    if any(done.values()) and not module.check_mode:
        infected = ["--infected"] if state == "released" and module.params["infected"] else []
        done |= _run(module, _COMMANDS[state], infected, *(str(entry["id"]) for entry in before))
        after = _entries(module)
    gone = [entry["id"] for entries in done.values() for entry in entries]
    module.exit_json(
        changed=any(done.values()),
        entries=after,
        diff={
            "before": "".join(map(_line, before)),
            "after": "".join(_line(entry) for entry in before if entry["id"] not in gone),
        },
        **done,
    )


def _entries(module: AnsibleModule) -> list[dict[str, Any]]:
    """The entries that the options name."""
    name, search, ids = (module.params[option] for option in ("name", "search", "id"))
    names = [name] if name else []
    found = _run(module, "search", [], search, *names) if search else _run(module, "list", [], *names)
    return [entry for entry in found["entries"] if ids is None or entry["id"] in ids]


def _run(module: AnsibleModule, action: str, options: list[str], *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """The command's output; its error makes the module fail."""
    program = module.get_bin_path(_COMMAND, opt_dirs=["/usr/local/sbin"])
    if program is None:
        module.fail_json(msg=f"{_COMMAND} is not on this host; the role mailhosting.stack.gate installs it")
    # `--`: a name is never an option.
    code, out, error = module.run_command([program, "quarantine", action, "--json", *options, "--", *arguments])
    if code:
        module.fail_json(msg=error.strip() or f"{_COMMAND} failed with {code}")
    found: dict[str, list[dict[str, Any]]] = json.loads(out)
    return found


def _line(entry: dict[str, Any]) -> str:
    names = ", ".join(finding["name"] for finding in entry["findings"])
    whose = entry["address"] or f"tenant {entry['tenant']}"
    return f"{entry['id']} for {whose}, from {entry['sender'] or '<>'}: {names}\n"


if __name__ == "__main__":
    main()
