#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_usage_info
short_description: Read what tenants have, use, send and receive, for billing
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Returns a row for each tenant and day, and the present figures of each tenant.
  - The role P(mailhosting.stack.usage#role) collects them. Days are days of UTC; the row of today still grows.
  - Accounts and aliases count as addresses, suspended ones too. C(postmaster) and C(all) of a domain do not count.
  - The rows of removed tenants stay.
extends_documentation_fragment:
  - mailhosting.stack._attributes.info
  - mailhosting.stack._directory.place
  - mailhosting.stack._directory
options:
  tenant:
    description: Limit the result to this tenant. All if not given.
    type: str
  from:
    description: The first day, as C(YYYY-MM-DD). If not given, the first day of the month of O(to).
    type: str
  to:
    description: The last day, as C(YYYY-MM-DD). If not given, today.
    type: str
seealso:
  - module: mailhosting.stack.mail_info
  - module: mailhosting.stack.usage_report
"""

EXAMPLES = r"""
- name: Read the figures of acme in November
  mailhosting.stack.mail_usage_info:
    tenant: acme
    from: "2026-11-01"
    to: "2026-11-30"
  register: usage

- name: Show the most billed addresses of any day
  ansible.builtin.debug:
    msg: "{{ usage.days | map(attribute='billed') | select | max }}"

- name: Read this month of all tenants
  mailhosting.stack.mail_usage_info:
"""

RETURN = r"""
from:
  description: The first day.
  type: str
  returned: success
  sample: "2026-11-01"
to:
  description: The last day.
  type: str
  returned: success
  sample: "2026-11-30"
days:
  description: A row for each day and tenant, by day and name. A day without collected figures has no row.
  type: list
  elements: dict
  returned: success
  contains:
    day:
      description: The day.
      type: str
    tenant:
      description: Name of the tenant.
      type: str
    addresses:
      description: Addresses that count, at the end of the day; V(null) if not collected on that day.
      type: int
    billed:
      description: The same, rounded up to whole steps of the plan's C(billing_step).
      type: int
    bytes:
      description: Bytes in use at the end of the day; V(null) if not known.
      type: int
    peak_bytes:
      description: The most bytes in use seen on the day.
      type: int
    sent_messages:
      description: Messages sent. Messages, recipients and bytes are V(0) where the gate is not used.
      type: int
    sent_recipients:
      description: Their recipients.
      type: int
    sent_bytes:
      description: Their bytes.
      type: int
    sent_refused:
      description: Messages that were rejected, by a limit or for another reason.
      type: int
    received_messages:
      description: Messages received.
      type: int
    received_recipients:
      description: Their recipients.
      type: int
    received_bytes:
      description: Their bytes.
      type: int
    received_refused:
      description: Messages that were rejected, by a limit, a full mailbox or for another reason.
      type: int
    virus_found:
      description: Messages, sent or received, in which a virus was found. This and the next three are V(0) where the
        plan has no C(virus).
      type: int
      version_added: "0.2.0"
    virus_stripped:
      description: Those of them that went on without the virus.
      type: int
      version_added: "0.2.0"
    virus_deleted:
      description: Those of them that were deleted or put into quarantine.
      type: int
      version_added: "0.2.0"
    virus_refused:
      description: Those of them that were rejected.
      type: int
      version_added: "0.2.0"
  sample:
    - day: "2026-11-22"
      tenant: acme
      addresses: 14
      billed: 20
      bytes: 52428800
      peak_bytes: 62914560
      sent_messages: 120
      sent_recipients: 180
      sent_bytes: 2516582
      sent_refused: 0
      received_messages: 411
      received_recipients: 430
      received_bytes: 9437184
      received_refused: 2
      virus_found: 3
      virus_stripped: 2
      virus_deleted: 0
      virus_refused: 1
now:
  description: The present figures of each tenant, by name.
  type: dict
  returned: success
  contains:
    addresses:
      description: Addresses that count.
      type: int
    billed:
      description: The same, rounded up to whole steps of the plan's C(billing_step).
      type: int
    accounts:
      description: Mailboxes, also those that do not count.
      type: int
    bytes:
      description: Bytes in use, as last collected; V(null) if not known.
      type: int
    quota:
      description: The sum of its mailboxes' quotas in bytes; V(null) if one has no quota, or there is no mailbox.
      type: int
    pool:
      description: The plan's C(tenant_quota) in bytes; V(null) for no limit.
      type: int
  sample:
    acme: {addresses: 14, billed: 20, accounts: 10, bytes: 52428800, quota: 524288000, pool: null}
"""

from datetime import UTC, date, datetime

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._directory.problems import DirectoryError
from ..module_utils._directory_module import connection_options, opened, reported, value


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "tenant": {"type": "str"},
            "from": {"type": "str"},
            "to": {"type": "str"},
        },
        supports_check_mode=True,
    )
    tenant = module.params["tenant"] or None
    with reported(module):
        last = value("to", _day, module.params["to"]) if module.params["to"] else datetime.now(UTC).date()
        first = value("from", _day, module.params["from"]) if module.params["from"] else last.replace(day=1)
        if first > last:
            raise DirectoryError(f"from: {first} is after to: {last}")
        with opened(module) as store:
            days = store.usage_days(tenant, first, last) if store else []
            now = store.usage_now(tenant) if store else {}
        if tenant and store and not (days or now):
            raise DirectoryError(f"tenant: there is no tenant {tenant}, and on these days there was none")
        module.exit_json(changed=False, days=days, now=now, **{"from": str(first), "to": str(last)})


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text} is not a day, such as 2026-11-22") from None


if __name__ == "__main__":
    main()
