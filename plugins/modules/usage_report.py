#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: usage_report
short_description: Write tenants' usage as a page with charts, CSV and JSON
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Writes three files on the controller from the result of M(mailhosting.stack.mail_usage_info), named after the host
    and the days.
  - The page is one file without external parts, for a browser or a printer. The CSV has a row for each day and tenant,
    and a byte order mark so that spreadsheets read Japanese names. The JSON has everything.
options:
  usage:
    description: The registered result of M(mailhosting.stack.mail_usage_info).
    type: dict
    required: true
  dest:
    description:
      - Folder for the files. The module creates it with mode 0700, and the files with 0600. It adds a C(.gitignore)
        that keeps them out of a repository.
      - An existing folder must be accessible to its user alone. A relative path starts at the working directory.
    type: path
    required: true
  hostname:
    description: The host's name, in the files' names.
    type: str
    required: true
  provider_name:
    description: The provider's name on the page. The O(hostname) if empty.
    type: str
    default: ""
  language:
    description: Language of the page.
    type: str
    choices: [en, ja]
    default: en
  names:
    description: Names of tenants for the report. A tenant without one appears by the name of its file.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Returns what would be written.
    support: full
  diff_mode:
    description: Shows nothing; the files are figures.
    support: none
  idempotent:
    description: The same figures change nothing.
    support: full
seealso:
  - module: mailhosting.stack.mail_usage_info
"""

EXAMPLES = r"""
- name: Read November
  mailhosting.stack.mail_usage_info:
    from: "2026-11-01"
    to: "2026-11-30"
  register: usage

- name: Write the report
  mailhosting.stack.usage_report:
    usage: "{{ usage }}"
    dest: "{{ inventory_dir }}/usage"
    hostname: "{{ inventory_hostname }}"
    provider_name: Provider, Inc.
    language: ja
    names: {acme: 株式会社アクメ}
"""

RETURN = r"""
folder:
  description: The absolute path of O(dest).
  type: str
  returned: success
  sample: /home/operator/inventories/production/usage
files:
  description: The files of the report, relative to RV(folder).
  type: list
  elements: str
  returned: success
  sample: [mx1_2026-11-01_2026-11-30.csv, mx1_2026-11-01_2026-11-30.html, mx1_2026-11-01_2026-11-30.json]
"""
