# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: it can have breaking changes at any time."""

from __future__ import annotations


class ModuleDocFragment:
    """Options and results that the directory's modules share."""

    PLACE = r"""
requirements:
  - python3-psycopg 3 on the host (the role P(mailhosting.stack.directory#role) installs it)
options:
  database:
    description: Name of the PostgreSQL database.
    type: str
    default: mailhosting
  host:
    description: Folder of PostgreSQL's unix socket, or a host name.
    type: str
    default: /var/run/postgresql
"""

    DOCUMENTATION = r"""
options:
  user:
    description: Database role to connect as. With peer authentication, C(root) may be C(mailhosting).
    type: str
    default: mailhosting
"""

    CLOSING = r"""
options:
  grace:
    description:
      - How long the host keeps the mail of an account that this run closes, as a number with V(s), V(m), V(h), V(d) or
        V(w).
      - Until then the account can be restored. With V(0s) it cannot.
    type: str
    default: 30d
"""

    HOLDS = r"""
options:
  hold:
    description:
      - Holds to place or change. They apply in addition to O(state), and only O(release) lifts them.
    type: list
    elements: dict
    default: []
    suboptions:
      scope:
        description:
          - What the hold stops. V(forward) and V(filter) keep mail in the mailbox, without forwarding and filters.
          - V(retention) is a legal hold, under which no mail is removed by its age.
        type: str
        choices: [send, receive, login, forward, filter, retention]
        required: true
      reason:
        description: The reason, for later readers.
        type: str
        required: true
      until:
        description:
          - When it expires, in ISO 8601 with an offset, such as V(2026-12-01T00:00:00+00:00).
          - It is a point in time, because a second run would move the end of a duration.
        type: str
  release:
    description: Scopes whose holds are lifted, of any origin but the gate. A hold for bulk mail is an error here;
      release it with M(mailhosting.stack.mail_limits).
    type: list
    elements: str
    choices: [send, receive, login, forward, filter, retention]
    default: []
"""
