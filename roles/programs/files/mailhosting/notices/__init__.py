# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends notices: about mailboxes that fill up, and limits that were reached.

Python of Debian 13; no part of the collection is imported.  `texts`, `mail` and `people` are pure; `directory` has the
queue, `post` delivers, `service` brings them together; `usage` compares mailboxes with quotas that changed.
"""
