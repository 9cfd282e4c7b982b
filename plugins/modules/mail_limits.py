#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_limits
short_description: Show and end pauses by limits and holds for bulk mail
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Shows which accounts and tenants may not send or receive because they exceeded a limit, and how much of its limits
    O(name) has used.
  - Lifts a pause before it expires. The windows of the paused account or tenant then begin anew.
  - Shows which accounts and tenants are held because of bulk mail or too many invalid recipients, and how many of their
    mails wait in the queue. An account stays held until it is released. The module delivers or deletes only the waiting
    mail of O(name).
  - Runs the command C(mailhosting limits) on the host, as root; the limits are those of P(mailhosting.stack.gate#role).
options:
  name:
    description:
      - Name of a tenant, address of an account, or V(host) for the limits of the whole host.
      - V(#17), as in RV(holds[].name), stands for an account that is gone but still has mail in the queue.
      - Without it the module shows all pauses and holds. Every O(state) but V(queried) needs a name.
    type: str
  state:
    description:
      - V(queried) changes nothing.
      - V(lifted) ends the pauses of O(name).
      - V(released) lets an account send again, and delivers its held mail, or the held mail for a tenant. Counting
        begins anew. Postfix tries mail that is older than its queue lifetime once.
      - V(dropped) deletes the held mail of an account, or the held mail for a tenant. An account stays held.
    type: str
    choices: [queried, lifted, released, dropped]
    default: queried
  direction:
    description: Show, or lift, only pauses of mail that O(name) sends, or that it receives. Both if not given.
    type: str
    choices: [send, receive]
attributes:
  check_mode:
    support: full
    description: Returns which pauses would be lifted, and which mail released or dropped.
  diff_mode:
    support: full
    description: Shows the pauses, or the holds with their numbers of waiting mails.
  idempotent:
    support: full
    description: A second run lifts, releases and drops nothing.
seealso:
  - module: mailhosting.stack.mail_info
"""

EXAMPLES = r"""
- name: Show all pauses and holds
  mailhosting.stack.mail_limits:
  register: limits

- name: Let a tenant send again
  mailhosting.stack.mail_limits:
    name: acme
    state: lifted
    direction: send

- name: Delete what was sent with a stolen password
  mailhosting.stack.mail_limits:
    name: taro@acme.example
    state: dropped

- name: Let the account send again after a change of its password
  mailhosting.stack.mail_limits:
    name: taro@acme.example
    state: released
"""

RETURN = r"""
pauses:
  description: Present pauses; in check mode also those that would be lifted.
  type: list
  elements: dict
  returned: success
  contains:
    scope:
      description: V(host), V(tenant) or V(account).
      type: str
    id:
      description: Id of the tenant or account in the directory.
      type: int
    name:
      description: Name of the tenant, address of the account, or V(host).
      type: str
    direction:
      description: The direction that it stops, V(send) or V(receive).
      type: str
    limit:
      description: The limit that was exceeded, in the form of plans; V(null) if not known.
      type: dict
    since:
      description: When it began, in seconds since 1970.
      type: int
    seconds_left:
      description: Seconds until it expires.
      type: int
  sample:
    - scope: tenant
      id: 7
      name: acme
      direction: send
      limit: {unit: messages, most: 1000, per: 3600, pause: 7200, pause_applies_to: [send, receive]}
      since: 1795320000
      seconds_left: 6120
holds:
  description: Holds, and mail that waits; in check mode also what would be released or dropped.
  type: list
  elements: dict
  returned: success
  contains:
    scope:
      description: V(account) that is or was held, or V(tenant) for which mail waits.
      type: str
    id:
      description: Id of the account or tenant in the directory.
      type: int
    name:
      description: Address of the account, or name of the tenant.
      type: str
    direction:
      description: The direction that is held, V(send) of an account, V(receive) of a tenant.
      type: str
    kind:
      description: The reason, V(bulk_mail) or V(invalid_recipients).
      type: str
    since:
      description: Begin of the account's hold, in seconds since 1970; V(null) if it may send, and for a tenant.
      type: int
    seconds_left:
      description: Seconds for which mail of one content for a tenant is still held; V(null) if only a release ends it.
      type: int
    mails:
      description: How many mails wait.
      type: int
  sample:
    - scope: account
      id: 17
      name: taro@acme.example
      direction: send
      kind: bulk_mail
      since: 1795320000
      seconds_left: null
      mails: 120
windows:
  description: What O(name) has used of its limits. Empty if no window has begun, or without O(name).
  type: list
  elements: dict
  returned: success
  contains:
    scope:
      description: As in RV(pauses[].scope).
      type: str
    id:
      description: As in RV(pauses[].id).
      type: int
    name:
      description: As in RV(pauses[].name).
      type: str
    direction:
      description: The direction that is counted, V(send) or V(receive).
      type: str
    unit:
      description: V(messages) or V(recipients).
      type: str
    per:
      description: Length of the window in seconds.
      type: int
    counted:
      description: The number in this window so far.
      type: int
    most:
      description: The number that the limit allows.
      type: int
    since:
      description: When the window began, in seconds since 1970.
      type: int
    seconds_left:
      description: Seconds until it ends.
      type: int
  sample: []
lifted:
  description: Pauses that were, or in check mode would be, lifted; the form is that of RV(pauses).
  type: list
  elements: dict
  returned: success
  sample: []
released:
  description: Holds that were, or in check mode would be, released; the form is that of RV(holds).
  type: list
  elements: dict
  returned: success
  sample: []
dropped:
  description: Holds whose mail was, or in check mode would be, deleted; the form is that of RV(holds).
  type: list
  elements: dict
  returned: success
  sample: []
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule

_COMMAND = "mailhosting"
_COMMANDS = {"lifted": "lift", "released": "release", "dropped": "drop"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "state": {"type": "str", "choices": ["queried", *_COMMANDS], "default": "queried"},
            "direction": {"type": "str", "choices": ["send", "receive"]},
        },
        required_if=[("state", state, ["name"]) for state in _COMMANDS],
        supports_check_mode=True,
    )
    name, direction, state = module.params["name"], module.params["direction"], module.params["state"]
    before = _only(direction, _run(module, "show", *([name] if name else [])))
    ended = {"lifted": before["pauses"], "released": before["holds"], "dropped": _with_mail(before["holds"])}
    done = {key: found if key == state else [] for key, found in ended.items()}
    after = before
    if any(done.values()) and not module.check_mode:
        only = [direction] if direction and state == "lifted" else []
        done = {**done, **_run(module, _COMMANDS[state], name, *only)}
        after = _only(direction, _run(module, "show", name))
    module.exit_json(
        changed=any(done.values()),
        pauses=after["pauses"],
        holds=after["holds"],
        windows=after.get("windows", []),
        diff={
            "before": _lines(before["pauses"], []) + _held_lines(before["holds"], {}),
            "after": _lines(before["pauses"], done["lifted"]) + _held_lines(before["holds"], done),
        },
        **done,
    )


def _run(module: AnsibleModule, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """The command's output; its error makes the module fail."""
    program = module.get_bin_path(_COMMAND, opt_dirs=["/usr/local/sbin"])
    if program is None:
        module.fail_json(msg=f"{_COMMAND} is not on this host; the role mailhosting.stack.gate installs it")
    # `--`: a name is never an option.
    code, out, error = module.run_command([program, "limits", arguments[0], "--json", "--", *arguments[1:]])
    if code:
        module.fail_json(msg=error.strip() or f"{_COMMAND} failed with {code}")
    found: dict[str, list[dict[str, Any]]] = json.loads(out)
    return found


def _only(direction: str | None, found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {kind: [item for item in items if direction in (None, item["direction"])] for kind, items in found.items()}


def _lines(pauses: list[dict[str, Any]], without: list[dict[str, Any]]) -> str:
    gone = [_line(pause) for pause in without]
    return "".join(line for line in map(_line, pauses) if line not in gone)


def _with_mail(holds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [hold for hold in holds if hold["mails"]]


def _held_lines(holds: list[dict[str, Any]], done: dict[str, list[dict[str, Any]]]) -> str:
    """A line for each that is held or has held mail; a released one has neither, a dropped one no mail."""
    lines = []
    for hold in holds:
        who = f"{hold['scope']} {hold['name']}"
        if done.get("released"):
            continue
        if (hold["since"], hold["seconds_left"]) != (None, None):
            lines.append(f"{who} is stopped\n")
        if hold["mails"] and not done.get("dropped"):
            lines.append(f"{who} has {hold['mails']} mails that wait\n")
    return "".join(lines)


def _line(pause: dict[str, Any]) -> str:
    return f"{pause['scope']} {pause['name']} may not {pause['direction']}\n"


if __name__ == "__main__":
    main()
