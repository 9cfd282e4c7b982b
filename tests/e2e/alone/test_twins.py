# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts of the image `converged`, with which other scenarios begin, share nothing that identifies a host."""

from __future__ import annotations

import json
import subprocess

import pytest
import testinfra

from .. import identity
from ..conftest import by_ssh


@pytest.fixture(scope="module")
def twins(inventories: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[testinfra.host.Host]:
    command = ["ansible-inventory", "--list", *(f"--inventory={path}" for path in inventories)]
    listing = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    names = listing["twins"]["hosts"]
    return [by_ssh(listing["_meta"]["hostvars"][name], tmp_path_factory.mktemp(name)) for name in names]


@pytest.fixture(scope="module")
def identities(twins: list[testinfra.host.Host]) -> list[dict[str, str]]:
    return [identity.of(twin) for twin in twins]


@pytest.mark.parametrize("secret", [*identity.FILES, identity.CLUSTER])
def test_each_has_its_own(secret: str, identities: list[dict[str, str]]) -> None:
    one, other = (found[secret] for found in identities)
    assert one != other


def test_nothing_calls_them_what_the_image_was_called(twins: list[testinfra.host.Host]) -> None:
    for twin in twins:
        assert (
            twin.check_output("grep --recursive --files-with-matches image-host /etc/aliases* /var/cache || true") == ""
        )
