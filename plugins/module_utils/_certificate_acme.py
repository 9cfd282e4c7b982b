# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates from an ACME server (RFC 8555), by certbot, one for each name.

PRIVATE to the collection: it can have breaking changes at any time.

Two halves, because the half that talks to the network needs no root:

    order    runs as a user of its own, whose folder is certbot's: live/<name>/{fullchain.pem,privkey.pem}, tried/<name>
    install  runs as root: copies from there into the folder of certificates, and notifies the daemons

The module certificates uses both.  The role tls installs this file too, for a timer that runs without Ansible.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import ssl
import subprocess
import sys
import urllib.request
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from . import _certificate_store as store
from ._certificate_judge import Judge
from ._certificates import Obtained, OwnCA, Pair, Trust
from ._files import replace_file

#: certbot's folder; root reads it through a link that systemd makes.
STATE: Final = "/var/lib/mailhosting-acme"
_SETTINGS: Final = "acme.json"
# Certificates obtained before this file was touched are renewed.
_RENEW: Final = "renew"
# This file exists from a change until the daemons have been notified of it.
_UNTOLD: Final = "untold"
_SHARED: Final = "shared"
_DIRECTORY_SECONDS: Final = 10
_ORDER_SECONDS: Final = 300
_SHOWN: Final = 5


@dataclass(frozen=True)
class Settings:
    """What to obtain, and how: the file `acme.json` in the folder of certificates."""

    shared: list[str]
    host_names: list[str]
    directory: str  # URL of the ACME server's directory
    contact: str  # mail address, or empty
    ca_file: str  # CAs to trust for `directory`, empty: the system's
    http_port: int  # where certbot listens for http-01
    max_orders: int  # in one run
    days: int  # of the own CA's certificates
    renew_days: int
    commands: list[str]  # notify the daemons of a change made without Ansible

    @property
    def wanted(self) -> dict[str, frozenset[str]]:
        """Names of certbot's certificates, with the host names of each."""
        return {_SHARED: frozenset(self.shared)} | {name: frozenset({name}) for name in self.host_names}

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def read_settings(path: str) -> Settings:
    """The settings in the folder `path`.

    Raises: FileNotFoundError if it has none.
    """
    with open(os.path.join(path, _SETTINGS), encoding="utf-8") as file:
        return Settings(**json.load(file))


def write_settings(path: str, settings: Settings | None, *, dry: bool) -> bool:
    """Write the settings into the folder `path` unless `dry`; returns whether they change.  None removes them."""
    file = os.path.join(path, _SETTINGS)
    try:
        with open(file, encoding="utf-8") as old:
            kept: str | None = old.read()
    except FileNotFoundError:
        kept = None
    wanted = settings.text() if settings else None
    if kept == wanted or dry:
        return kept != wanted
    if wanted is None:
        os.unlink(file)
    else:
        replace_file(file, wanted.encode(), 0o644)
    return True


def due(settings: Settings, path: str, state: str, now: datetime) -> list[str]:
    """Those of `settings.wanted` without a certificate that lasts, the longest untried first."""
    late = [name for name, names in settings.wanted.items() if _is_due(settings, path, state, name, names, now)]
    return sorted(late, key=lambda name: (_mtime(os.path.join(state, "tried", name)), name))


def _is_due(settings: Settings, path: str, state: str, name: str, names: frozenset[str], now: datetime) -> bool:
    pair = _obtained(state, name)
    if pair is None or pair.fault() or not names <= pair.names:
        return True
    begin, end = pair.certificate.not_valid_before_utc, pair.certificate.not_valid_after_utc
    # The third: a certificate of a few days would be due at once.
    margin = min(timedelta(days=settings.renew_days), (end - begin) / 3)
    return end - now < margin or _mtime(_chain(state, name)) < _mtime(os.path.join(path, _RENEW))


def _mtime(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _chain(state: str, name: str) -> str:
    return os.path.join(state, "live", name, "fullchain.pem")


def _obtained(state: str, name: str) -> Pair | None:
    return store.read_pair(_chain(state, name), os.path.join(state, "live", name, "privkey.pem"))


def producer(settings: Settings, path: str, state: str, now: datetime) -> Obtained:
    """The producer that uses obtained certificates, and the own CA for all other names."""
    own_ca = OwnCA(
        store.read_authority(path), f"Mail CA of {settings.shared[0]}", now, settings.days, settings.renew_days
    )
    pairs = ((names, _obtained(state, name)) for name, names in settings.wanted.items())
    return Obtained({names: pair for names, pair in pairs if pair}, own_ca, now, Judge(Trust.CHAIN))


def without(settings: Settings, path: str, state: str, now: datetime) -> str:
    """A line about the names that should have a fresh certificate and have none; else empty."""
    late = due(settings, path, state, now)
    if not late:
        return ""
    shown = ", ".join(settings.shared[0] if name == _SHARED else name for name in late[:_SHOWN])
    more = f" and {len(late) - _SHOWN} more" if len(late) > _SHOWN else ""
    return (
        f"No fresh certificate by ACME for {shown}{more}. Until the next run gets one, an older one or the own CA's "
        "serves. Why: journalctl --unit mailhosting-acme-order"
    )


def order(path: str, state: str, logs: str) -> None:
    """Order once each certificate that is missing or due, and log why one was not obtained."""
    settings = read_settings(path)
    os.makedirs(os.path.join(state, "tried"), exist_ok=True)
    _forget(settings, state)
    late = due(settings, path, state, datetime.now(UTC))
    if not late or not _answers(settings):
        return
    for name in late[: settings.max_orders]:
        tried = os.path.join(state, "tried", name)
        with open(tried, "wb"):
            os.utime(tried)
        fault = _order(settings, state, logs, name)
        _say(f"{name}: {fault or 'obtained'}\n")
        # Without this, hundreds of names would each wait for a server that does not answer.
        if fault and not _answers(settings):
            return


def _forget(settings: Settings, state: str) -> None:
    """Remove keys and certificates of names that are no longer wanted."""
    live = os.path.join(state, "live")
    present = os.listdir(live) if os.path.isdir(live) else []
    for name in {name for name in present if os.path.isdir(os.path.join(live, name))} - settings.wanted.keys():
        for folder in ("live", "archive"):
            shutil.rmtree(os.path.join(state, folder, name), ignore_errors=True)
        for file in (os.path.join("renewal", f"{name}.conf"), os.path.join("tried", name)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(state, file))


def _answers(settings: Settings) -> bool:
    trust = ssl.create_default_context(cafile=settings.ca_file or None)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust))
    try:
        with opener.open(settings.directory, timeout=_DIRECTORY_SECONDS) as answer:
            json.load(answer)
    except (OSError, ValueError) as error:
        _say(f"Nothing ordered: {settings.directory} does not answer: {error}\n")
        return False
    return True


def _order(settings: Settings, state: str, logs: str, name: str) -> str:
    """Run certbot for one certificate; returns why it failed, else empty."""
    command = ["certbot", "certonly", "--config=/dev/null", "--non-interactive", "--agree-tos", "--no-directory-hooks"]
    command += [f"--config-dir={state}", f"--work-dir={state}/work", f"--logs-dir={logs}", "--max-log-backups=10"]
    command += [f"--server={settings.directory}", "--standalone", f"--http-01-port={settings.http_port}"]
    command += [f"--cert-name={name}", f"--domains={','.join(sorted(settings.wanted[name]))}"]
    command += ["--force-renewal", "--renew-with-new-domains"]
    command += [f"--email={settings.contact}", "--no-eff-email"] if settings.contact else []
    command += [] if settings.contact else ["--register-unsafely-without-email"]
    trust = {"REQUESTS_CA_BUNDLE": settings.ca_file} if settings.ca_file else {}
    try:
        done = subprocess.run(
            command, env=os.environ | trust, capture_output=True, text=True, timeout=_ORDER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"certbot took more than {_ORDER_SECONDS} s"
    if not done.returncode:
        return ""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    details = [line for line in lines if line.startswith("Detail:")]
    return " ".join(details or [line for line in lines if "logfile" not in line][-3:])


def install(path: str, state: str) -> str:
    """Install what was obtained and notify the daemons; returns what failed, else empty."""
    settings, now = read_settings(path), datetime.now(UTC)
    untold = os.path.join(path, _UNTOLD)
    with store.locked(path):
        source = producer(settings, path, state, now)
        plan = store.compare(path, frozenset(settings.shared), settings.host_names, source, purge=False)
        if plan.changed:
            _say(plan.diff()["after"])
            with open(untold, "wb"):
                pass
            store.apply(path, plan, purge=False)
    faults = [*source.warnings, without(settings, path, state, now)]
    if os.path.exists(untold):
        runs = [(command, subprocess.run(shlex.split(command), check=False)) for command in settings.commands]
        failed = [f"failed: {command}" for command, run in runs if run.returncode]
        faults += failed
        if not failed:
            os.unlink(untold)
    return "\n".join(filter(None, faults))


def _say(text: str) -> None:
    """Write to the journal: a timer runs this, without Ansible."""
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> None:
    """Run `order` or `install` for the folder of certificates."""
    what, path = sys.argv[1:]
    if what == "order":
        order(path, os.environ["STATE_DIRECTORY"], os.environ["LOGS_DIRECTORY"])
    else:
        raise SystemExit(install(path, STATE) or 0)
