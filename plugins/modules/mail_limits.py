#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_limits
short_description: See who is paused by a limit or stopped for bulk mail, and end it
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Says who may not send or receive because a limit was exceeded, and how much of its limits somebody has used.
  - Lifts a pause before it ends by itself. The limits of whoever was paused begin anew with it.
  - Says who is stopped because of bulk mail or of too many invalid recipients, and how many mails wait in the queue for
    that. An account stays stopped until it is released. Of what waits, the mail of O(name) and no other is let go on or
    deleted.
  - Runs the command C(mailhosting limits) on the host, as root; the limits are those of P(mailhosting.stack.gate#role).
options:
  name:
    description:
      - Name of a tenant, address of an account, or V(host) for what limits the host as a whole.
      - V(#17), as in RV(holds[].name), for an account that is gone while mail of it waits.
      - Without it all pauses and stops are looked at. Every O(state) but V(queried) needs one.
    type: str
  state:
    description:
      - V(queried) changes nothing.
      - V(lifted) ends the pauses of O(name).
      - V(released) lets an account send again, and its mail that waits go on, or the mail for a tenant. Counting begins
        anew. Mail that waited for longer than Postfix keeps mail is tried once.
      - V(dropped) deletes the mail of an account that waits, or that for a tenant. An account stays stopped.
    type: str
    choices: [queried, lifted, released, dropped]
    default: queried
  direction:
    description: Look at, or lift, only what stops mail that O(name) sends, or that it receives. Both without it.
    type: str
    choices: [send, receive]
attributes:
  check_mode:
    support: full
    description: Says which pauses would be lifted, and what mail released or dropped, and does none of it.
  diff_mode:
    support: full
    description: Shows the pauses, or who is stopped and how many mails wait.
  idempotent:
    support: full
    description: A second run lifts, releases and drops nothing.
seealso:
  - module: mailhosting.stack.mail_info
"""

EXAMPLES = r"""
- name: See who is paused
  mailhosting.stack.mail_limits:
  register: limits

- name: Let a tenant send again
  mailhosting.stack.mail_limits:
    name: acme
    state: lifted
    direction: send

- name: Delete what a robber of a password sent
  mailhosting.stack.mail_limits:
    name: taro@acme.example
    state: dropped

- name: Let the account send again, since it has another password
  mailhosting.stack.mail_limits:
    name: taro@acme.example
    state: released
"""

RETURN = r"""
pauses:
  description: Pauses that last; in check mode also those that would be lifted.
  type: list
  elements: dict
  returned: success
  contains:
    scope:
      description: V(host), V(tenant) or V(account).
      type: str
    id:
      description: The tenant's or account's in the directory.
      type: int
    name:
      description: Name of the tenant, address of the account, or V(host).
      type: str
    direction:
      description: What it stops, V(send) or V(receive).
      type: str
    limit:
      description: What was exceeded, as plans have it; V(null) if that is not known.
      type: dict
    since:
      description: When it began, in seconds since 1970.
      type: int
    seconds_left:
      description: When it ends by itself, in seconds.
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
  description: Who is stopped, and mail that waits; in check mode also what would be released or dropped.
  type: list
  elements: dict
  returned: success
  contains:
    scope:
      description: V(account), which is stopped or was, or V(tenant), for which mail waits.
      type: str
    id:
      description: The account's or tenant's in the directory.
      type: int
    name:
      description: Address of the account, or name of the tenant.
      type: str
    direction:
      description: What is stopped, V(send) of an account, V(receive) of a tenant.
      type: str
    kind:
      description: Why, V(bulk_mail) or V(invalid_recipients).
      type: str
    since:
      description: When the account was stopped, in seconds since 1970; V(null) for one that may send, and for a tenant.
      type: int
    seconds_left:
      description: How long mail of one content for a tenant is stopped, in seconds; V(null) where nothing ends it.
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
  description: What O(name) has used of its limits. Nothing where no window has begun, or without O(name).
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
      description: What is counted, V(send) or V(receive).
      type: str
    unit:
      description: V(messages) or V(recipients).
      type: str
    per:
      description: Length of the window in seconds.
      type: int
    counted:
      description: How many there were.
      type: int
    most:
      description: How many there may be.
      type: int
    since:
      description: When the window began, in seconds since 1970.
      type: int
    seconds_left:
      description: When it ends, in seconds.
      type: int
  sample: []
lifted:
  description: Pauses that were, or in check mode would be, lifted; as RV(pauses).
  type: list
  elements: dict
  returned: success
  sample: []
released:
  description: What was, or in check mode would be, released; as RV(holds).
  type: list
  elements: dict
  returned: success
  sample: []
dropped:
  description: Of what mail was, or in check mode would be, deleted; as RV(holds).
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
    """What the command says; the module fails with what it complains of."""
    program = module.get_bin_path(_COMMAND, opt_dirs=["/usr/local/sbin"])
    if program is None:
        module.fail_json(msg=f"{_COMMAND} is not on this host; the role mailhosting.stack.gate installs it")
    # Whatever the name is, it is no option.
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
    """A line for each that is stopped or has mail that waits; what is released has neither, what is dropped no mail."""
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
