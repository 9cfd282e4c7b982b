# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the bytes in use of every mailbox in Valkey, and the usage of tenants in the directory, complete.

Python of Debian 13; no part of the collection is imported.  Dovecot writes each mailbox's bytes to Valkey as they
change; `service` fills in missing values there, and collects usage for the directory, from the `sources`.
"""
