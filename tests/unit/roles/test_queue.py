# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Postfix's static maps recognize a mailbox of the queue by the suffix that the directory gives it."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import QUEUE_DOMAIN

VARIABLES = Path(__file__).parents[3] / "roles/postfix/vars/main.yml"


def test_role_and_directory_mean_the_same_domain() -> None:
    assert yaml.safe_load(VARIABLES.read_text())["__postfix_queue_domain"] == QUEUE_DOMAIN
