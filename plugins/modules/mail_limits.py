#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_limits
short_description: See who is paused by a limit, and lift it
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Says who may not send or receive because a limit was exceeded, and how much of its limits somebody has used.
  - Lifts a pause before it ends by itself. The limits of whoever was paused begin anew with it.
  - Runs the command C(mailhosting-limits) of P(mailhosting.stack.gate#role) on the host, as root.
options:
  name:
    description:
      - Name of a tenant, address of an account, or V(host) for what limits the host as a whole.
      - Without it all pauses are looked at. O(state=lifted) needs one.
    type: str
  state:
    description:
      - V(queried) changes nothing.
      - V(lifted) ends the pauses of O(name).
    type: str
    choices: [queried, lifted]
    default: queried
  direction:
    description: Look at, or lift, only what stops mail that O(name) sends, or that it receives. Both without it.
    type: str
    choices: [send, receive]
attributes:
  check_mode:
    support: full
    description: Says which pauses would be lifted, and lifts none.
  diff_mode:
    support: full
    description: Shows the pauses.
  idempotent:
    support: full
    description: A second run lifts nothing.
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
      limit: {unit: messages, most: 1000, per: 3600, pause: 7200, stops: [send, receive]}
      since: 1795320000
      seconds_left: 6120
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
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule

_COMMAND = "mailhosting-limits"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "state": {"type": "str", "choices": ["queried", "lifted"], "default": "queried"},
            "direction": {"type": "str", "choices": ["send", "receive"]},
        },
        required_if=[("state", "lifted", ["name"])],
        supports_check_mode=True,
    )
    name, direction = module.params["name"], module.params["direction"]
    before = _only(direction, _run(module, "show", *([name] if name else [])))
    lifted: list[dict[str, Any]] = []
    after = before
    if module.params["state"] == "lifted":
        lifted = before["pauses"]
        if lifted and not module.check_mode:
            lifted = _run(module, "lift", name, *([direction] if direction else []))["lifted"]
            after = _only(direction, _run(module, "show", name))
    module.exit_json(
        changed=bool(lifted),
        pauses=after["pauses"],
        windows=after.get("windows", []),
        lifted=lifted,
        diff={"before": _lines(before["pauses"], []), "after": _lines(before["pauses"], lifted)},
    )


def _run(module: AnsibleModule, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """What the command says; the module fails with what it complains of."""
    program = module.get_bin_path(_COMMAND, opt_dirs=["/usr/local/sbin"])
    if program is None:
        module.fail_json(msg=f"{_COMMAND} is not on this host; the role mailhosting.stack.gate installs it")
    # Whatever the name is, it is no option.
    code, out, error = module.run_command([program, arguments[0], "--json", "--", *arguments[1:]])
    if code:
        module.fail_json(msg=error.strip() or f"{_COMMAND} failed with {code}")
    found: dict[str, list[dict[str, Any]]] = json.loads(out)
    return found


def _only(direction: str | None, found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {kind: [item for item in items if direction in (None, item["direction"])] for kind, items in found.items()}


def _lines(pauses: list[dict[str, Any]], without: list[dict[str, Any]]) -> str:
    gone = [_line(pause) for pause in without]
    return "".join(line for line in map(_line, pauses) if line not in gone)


def _line(pause: dict[str, Any]) -> str:
    return f"{pause['scope']} {pause['name']} may not {pause['direction']}\n"


if __name__ == "__main__":
    main()
