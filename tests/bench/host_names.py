# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host names with certificates of their own: the cost of 10, 500 and 2,000 of them, and of one more."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from common import CHECKOUT, Figure, Host, at_least, publish

BENCH = CHECKOUT / "tests" / "bench"
DEMO = CHECKOUT / "inventories" / "demo"
SIZES = (10, 500, 2000)
USER, PASSWORD = "bill@bolt.example", "Tr0ub4dor&3"


def write(folder: Path, number: int) -> None:
    """Write a tenant with one domain and one host name."""
    text = f"plan: basic\ndomains:\n  n{number:05}.example: {{hostnames: [mail.n{number:05}.example]}}\n"
    (folder / f"names-{number:05}.yml").write_text(text)


def measure(host: Host, folder: Path, size: int) -> list[Figure]:
    where = {"mail_tenants_dir": str(folder)}
    for number in range(size):
        write(folder, number)
    first = host.play("mailhosting.stack.site", **where)
    second = host.play("mailhosting.stack.site", **where)
    write(folder, size)
    one_more = host.play("mailhosting.stack.tenants", **where)
    # Otherwise processes from before the names would count.
    host.shell("systemctl restart dovecot postfix && sleep 2")
    names = [f"mail.n{number:05}.example" for number in (size, 0)]
    found: dict[str, Any] = host.python(BENCH / "reload_names.py", *names, USER, shlex.quote(PASSWORD))
    memory = [
        Figure(f"{size} names: {group}, {values['processes']} processes, {kind}", values[kind], "MiB")
        for group, values in found["memory"].items()
        for kind in ("rss", "pss")
    ]
    return [
        Figure(f"{size} names: site.yml, all of them new", first, "s"),
        Figure(f"{size} names: site.yml, unchanged", second, "s"),
        Figure(f"{size} names: tenants.yml with one more", one_more, "s"),
        Figure(f"{size} names: reload until the new certificate is served", found["reload"], "s"),
        Figure(f"{size} names: longest login meanwhile", found["longest_login"], "s"),
        Figure(f"{size} names: logins that failed in the midst of 5 reloads", found["failed"], ""),
        Figure(f"{size} names: login by IMAPS", found["login"] * 1000, "ms"),
        Figure(f"{size} names: greeting on 465", found["submissions"] * 1000, "ms"),
        at_least(f"{size} names: sessions survive 10 reloads", float(found["survived"]), "", 1),
        Figure(f"{size} names: postmap -F", found["postmap"], "s"),
        Figure(f"{size} names: doveconf -n", found["doveconf"], "s"),
        *memory,
    ]


def main() -> None:
    host = Host("mx1", DEMO / "hosts.yml")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tenants"
        shutil.copytree(DEMO / "tenants", folder)
        figures = [figure for size in SIZES for figure in measure(host, folder, size)]
    publish("host_names", figures)


if __name__ == "__main__":
    main()
