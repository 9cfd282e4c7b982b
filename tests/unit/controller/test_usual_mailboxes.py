# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of mailboxes that the filter knows."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mailhosting.stack.plugins.filter.usual_mailboxes import FilterModule

usual_mailboxes = FilterModule().filters()["usual_mailboxes"]


def test_the_usual_name_of_each_use_comes_first() -> None:
    names = usual_mailboxes(["Trash", "Junk"])
    assert names[0] == "Trash"
    assert {"Deleted Items", "ごみ箱", "Junk", "迷惑メール"} <= set(names)
    assert "Sent" not in names


def test_a_name_stands_for_one_use() -> None:
    names = usual_mailboxes(["Archive", "Drafts", "Junk", "Sent", "Trash"])
    assert len(names) == len(set(names))


def test_another_use_is_an_error() -> None:
    with pytest.raises(AnsibleFilterError, match="'Spam' is none of Archive, Drafts"):
        usual_mailboxes(["Spam"])
