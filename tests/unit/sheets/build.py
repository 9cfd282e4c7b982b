# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tenants and pages to test with."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import (
    Account,
    Domain,
    Tenant,
    effective,
)
from ansible_collections.mailhosting.stack.plugins.plugin_utils._settings_sheet import content

SHARED = "mx1.provider.example"
PASSWORD = "Correct horse"
#: All that a sheet can have.
ALL: dict[str, Any] = {
    "protocols": ["pop3", "pop3s", "imap", "imaps", "smtp", "submission", "submissions", "sieve"],
    "cleartext_auth": True,
    "mailbox_quota": 50 << 20,
    "max_message_size": 20 << 20,
    "pop_before_smtp": 1800,
    "legacy_auth": True,
}


def tenant(*hostnames: str, **domains: tuple[str, ...]) -> Tenant:
    """A tenant `acme` with taro@acme.example; `domains`: host names of further domains, by their first label."""
    named = {"acme.example": hostnames} | {f"{name}.example": names for name, names in domains.items()}
    account = Account("taro", "acme.example", password=PASSWORD)
    return Tenant(
        "acme",
        "basic",
        domains={name: Domain(name, names) for name, names in named.items()},
        accounts={account.address: account},
    )


def sheet(
    owner: Tenant | None = None,
    tls_names: str = "shared",
    with_password: bool = False,
    challenge_auth: str = "everywhere",
    **plan: Any,
) -> content.Sheet:
    """Taro's sheet under a plan with these keys."""
    owner = owner or tenant()
    host = content.Host(SHARED, 50 << 20, tls_names, challenge_auth)
    account = owner.accounts["taro@acme.example"]
    return content.sheet(owner, account, effective(plan, {}), host, with_password=with_password)


class Page(HTMLParser):
    """The visible text of a page of HTML.

    Raises: ValueError if an element is not closed by its own tag.
    """

    VOID = ("meta",)

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        if self.open:
            raise ValueError(f"not closed: {self.open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open.pop() != tag:
            raise ValueError(f"{tag} is closed and was not open")

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] != "style":
            self.texts.append(data.strip())

    @property
    def protocols(self) -> list[str | None]:
        """The services on the page."""
        return [attributes["data-protocol"] for _tag, attributes in self.elements if "data-protocol" in attributes]
