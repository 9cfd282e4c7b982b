# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator chooses where mailboxes lie, so sandboxes must exclude that folder."""

from __future__ import annotations

from pathlib import Path

ROLES = Path(__file__).resolve().parents[3] / "roles"


def test_no_template_names_the_mailboxes_folder_itself() -> None:
    named = [path for path in ROLES.glob("*/templates/**/*.j2") if "/var/vmail" in path.read_text()]
    assert [str(path.relative_to(ROLES)) for path in named] == []


def test_every_unit_that_is_shut_out_of_the_mailboxes_says_so_by_the_variable() -> None:
    units = [path for path in ROLES.glob("*/templates/systemd/**/*.j2") if "_mail_base }}" in path.read_text()]
    roles = {path.relative_to(ROLES).parts[0] for path in units}
    assert roles >= {"fail2ban", "postfix", "postsrsd", "programs"}
    for role in roles:
        assert (
            f"{role}_mail_base: \"{{{{ mail_base | default('/var/vmail') }}}}\""
            in (ROLES / role / "defaults" / "main.yml").read_text()
        )
