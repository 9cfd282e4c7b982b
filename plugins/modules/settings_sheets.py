#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: settings_sheets
short_description: Write a sheet for each mail account with the settings for its owner's mail program
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Writes printable pages, HTML and PDF, with servers, ports, security, login, sizes and, if asked, the initial
    password.
  - Runs on the controller alone and reads the same files as M(mailhosting.stack.mail_directory). Tenants' data never
    becomes Ansible variables.
  - A sheet has what its tenant's plan offers and nothing else. Accounts whose login cannot work get no sheet.
  - A run compares the sheets with the existing ones, and writes those of new and changed accounts.
  - A sheet in a language or format that the run does not ask for stays while it is right, and is removed once it is
    outdated.
  - A run about all of a tenant's accounts also removes the sheets of accounts that are gone or whose login cannot work
    any more. It does not change other sheets.
  - PDFs need the program C(weasyprint), and for Japanese a font with its letters. On Debian these are the packages
    C(weasyprint), and C(fonts-noto-cjk) or C(fonts-ipaexfont-gothic).
options:
  plans:
    description: The plans by name, as for M(mailhosting.stack.mail_directory).
    type: dict
    default: {}
  tenants_dir:
    description: Folder with one YAML file for each tenant.
    type: path
  addresses_dir:
    description: Folder with a file of the same name for a tenant's accounts and aliases.
    type: path
  secrets_dir:
    description:
      - Folder with a file of the same name for a tenant's plain passwords.
      - Read only with O(with_password=true), and only the files of tenants whose accounts get a sheet.
    type: path
  lenient_domains:
    description: Domains whose local parts may have dots anywhere, as for M(mailhosting.stack.mail_directory).
    type: list
    elements: str
    default: [au.com, docomo.ne.jp, ezweb.ne.jp]
    version_added: "0.2.0"
  dest:
    description:
      - Folder for the sheets, C(TENANT/ADDRESS.LANGUAGE.html) and C(.pdf). The module creates it with mode 0700, and
        the files with 0600. It adds a C(.gitignore) that keeps the sheets out of a repository.
      - An existing folder must be accessible to its user alone. A relative path starts at the working directory.
    type: path
    required: true
  addresses:
    description: Limit the run to these accounts, and to those of O(tenants).
    type: list
    elements: str
    default: []
  tenants:
    description: Limit the run to the accounts of these tenants, and to O(addresses).
    type: list
    elements: str
    default: []
  hostname:
    description: The server name that all customers can use.
    type: str
    required: true
  tls_names:
    description:
      - A sheet shows a tenant's host name that begins with C(pop), C(imap) or C(smtp) for that protocol, and one that
        begins with C(mail) for all protocols. Names in the account's own domain come first. If there is none, the sheet
        shows O(hostname).
      - With V(shared) the ports with implicit TLS (993, 995, 465) always have O(hostname). With V(own) they have the
        tenant's names too.
    type: str
    choices: [shared, own]
    default: shared
  challenge_auth:
    description:
      - Where the host's SMTP offers CRAM-MD5 to plans with C(legacy_auth).
      - With V(before_tls) no sheet shows it.
    type: str
    choices: [before_tls, everywhere]
    default: before_tls
    version_added: "0.2.0"
  message_size_limit:
    description: Bytes of the largest mail that the host accepts. If not given, the sheets show none.
    type: int
  with_password:
    description:
      - Whether the sheets show the initial passwords from O(secrets_dir). An account without a known password is then
        an error, and the run writes no sheet.
      - Without it a sheet says that the password comes separately. A run without it removes the passwords from existing
        sheets.
    type: bool
    default: false
  languages:
    description: Languages of the sheets, V(en), V(ja), or those in O(templates_dir). Empty means each tenant's own.
    type: list
    elements: str
    default: []
  formats:
    description:
      - Formats of the sheets. Empty means both, or, with a warning, HTML alone if this machine cannot make PDFs.
    type: list
    elements: str
    choices: [html, pdf]
    default: []
  provider_name:
    description: The provider's name on the sheets. The O(hostname) if empty.
    type: str
    default: ""
  support:
    description: Lines about how to get help, such as a mail address, a telephone number, hours.
    type: list
    elements: str
    default: []
  templates_dir:
    description:
      - Folder that may have a C(sheet.html.j2) and files such as C(ja.yml). They replace the collection's template and
        single texts. A language that the collection lacks needs all texts.
    type: path
attributes:
  check_mode:
    description: Returns what would be written.
    support: full
  diff_mode:
    description: Shows the pages in HTML. Passwords are masked.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Write the sheets of new and changed accounts
  mailhosting.stack.settings_sheets:
    plans: "{{ mail_plans }}"
    tenants_dir: "{{ inventory_dir }}/tenants"
    addresses_dir: "{{ inventory_dir }}/addresses"
    dest: "{{ inventory_dir }}/sheets"
    hostname: mail.provider.example
    provider_name: Provider, Inc.
    support: [support@provider.example]

- name: Write two customers' sheets with their passwords, in two languages
  mailhosting.stack.settings_sheets:
    plans: "{{ mail_plans }}"
    tenants_dir: "{{ inventory_dir }}/tenants"
    addresses_dir: "{{ inventory_dir }}/addresses"
    secrets_dir: "{{ inventory_dir }}/secrets"
    dest: "{{ inventory_dir }}/sheets"
    hostname: mail.provider.example
    tenants: [acme]
    addresses: [info@customer.example]
    with_password: true
    languages: [en, ja]
"""

RETURN = r"""
folder:
  description: The absolute path of O(dest).
  type: str
  returned: success
  sample: /home/operator/inventories/production/sheets
files:
  description: Written files, relative to RV(folder), at most 100.
  type: list
  elements: str
  returned: success
  sample: [acme/taro@acme.example.ja.html, acme/taro@acme.example.ja.pdf]
removed:
  description: Removed outdated files, relative to RV(folder), at most 100.
  type: list
  elements: str
  returned: success
  sample: [acme/taro@acme.example.en.html]
without:
  description: Accounts that get no sheet because their login cannot work, at most 100.
  type: list
  elements: str
  returned: success
  sample: [jiro@acme.example]
counts:
  description:
    - How many files were C(written) and C(removed), and how many accounts are C(unchanged) or C(without) a sheet.
  type: dict
  returned: success
  sample: {written: 2, removed: 1, unchanged: 99, without: 1}
"""
