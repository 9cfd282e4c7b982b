# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Acts that each unit must not be able to do.  The tests of each inventory take the units that it installs."""

from __future__ import annotations

from typing import Any, Final

import pytest

from .sandbox import PROGRAM, Act, Sandbox, by_code, in_its_namespaces, in_its_place, writing

_CONNECT: Final = 'import socket; socket.create_connection(("127.0.0.1", 25), 2)'
REACHING_A_PORT: Final = Act(f"python3 -c '{_CONNECT}'", code=_CONNECT)
OPENING_A_SOCKET: Final = Act("python3 -c 'import socket; socket.socket(socket.AF_INET)'")
MAKING_A_NAMESPACE: Final = Act("unshare --user true")
MAKING_CODE: Final = Act("python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)'")
READING_MAILBOXES: Final = Act("ls -d /var/vmail/*")
READING_DOVECOT: Final = Act("cat /etc/dovecot/dovecot.conf")
REACHING_DOVECOT: Final = Act("ls /run/dovecot/auth-client")
REACHING_THE_DIRECTORY: Final = Act("ls /run/postgresql/.s.*")
SEEING_PROCESSES: Final = Act("ls /proc/1/status")
#: For a user without write access there anyway.
WRITING: Final = {
    "write a system file": writing("/usr/bin/intruder"),
    "write the configuration": writing("/etc/passwd"),
    "write root's files": writing("/root/intruder"),
    "read root's files": Act("cat /root/.profile", code='open("/root/.profile").read()'),
    "make a unit": writing("/etc/systemd/system/intruder.service"),
}
#: For root.
AS_ROOT: Final = {
    "write a system file": Act("touch /usr/bin/intruder && rm /usr/bin/intruder"),
    "write the configuration": Act("touch /etc/intruder && rm /etc/intruder"),
    "make a unit": Act("touch /etc/systemd/system/intruder && rm /etc/systemd/system/intruder"),
    "read root's files": Act("ls -A /root | grep ."),
    "read the directory's files": Act("ls /var/lib/postgresql | grep ."),
    "mount": Act("unshare --mount true"),
    "take the processor": Act("chrt --rr 1 true"),
    "set up the kernel": Act("sysctl -w kernel.domainname=mail"),
    "rename the host": Act("hostname -F /etc/hostname"),
    "make a device": Act("mknod /run/intruder c 1 3 && rm /run/intruder"),
    "write code to run": MAKING_CODE,
    "be root of a namespace": MAKING_A_NAMESPACE,
}
#: For programs that use the directory alone, and perhaps mailboxes.
_ELSEWHERE: Final = {
    "read the queue": Act("ls /var/spool/postfix/."),
    "read the directory's files": Act("ls /var/lib/postgresql/."),
    "talk to the network": OPENING_A_SOCKET,
    "see other processes": SEEING_PROCESSES,
}
#: For nightly work on mailboxes.
_AT_NIGHT: Final = {
    **WRITING,
    **_ELSEWHERE,
    "read a key": Act("ls /etc/mailhosting/tls"),
    "become root": Act("setpriv --reuid=0 true || su root -c true"),
}
#: Folders that only programs working with mailboxes see, and the properties of these programs.
_SHUT: Final = PROGRAM["InaccessiblePaths"]
_AMONG_MAILBOXES: Final = {
    "ReadWritePaths": "-/var/vmail",
    "InaccessiblePaths": "-/etc/mailhosting -/etc/postfix -/etc/ssl/private -/var/lib/postgresql -/var/lib/valkey"
    " -/var/spool/postfix",
    "SystemCallFilter": "read setresuid",
}
#: For what scans, and what fetches signatures.
_SCANNING: Final = {
    **WRITING,
    "read mailboxes": READING_MAILBOXES,
    "read the queue": Act("ls /var/spool/postfix/."),
    "read Dovecot's configuration": READING_DOVECOT,
    "read a key": Act("ls /etc/mailhosting/tls"),
    "reach Dovecot": REACHING_DOVECOT,
    "read the directory's files": Act("ls /var/lib/postgresql/."),
    "write code to run": MAKING_CODE,
    "make a namespace": MAKING_A_NAMESPACE,
    "see other processes": SEEING_PROCESSES,
}
_BESIDE_SCANNERS: Final = "-/etc/mailhosting -/etc/postfix -/run/dovecot -/var/spool/postfix"
QUEUE: Final = ("active", "corrupt", "deferred", "hold", "incoming", "maildrop")
#: A file in each of these folders and among the mailboxes, with a name that Postfix ignores.
NO_MAIL: Final = "no-mail"
_INNOCENT: Final = Act("test -e /proc/self && echo x >> /dev/null", code='open("/dev/null", "a").write("x")')
_REMOVING: Final = Act("touch /var/vmail/e2e && rm /var/vmail/e2e")


def _in_python(code: str, outside: str) -> Act:
    return Act(f'/usr/bin/python3 -I -c "{code}"', outside)


def _asking(query: str) -> Act:
    """A query of the gate's user to the directory."""
    code = f"__import__('psycopg').connect('dbname=mailhosting user=mailhosting-gate').execute('{query}')"
    return _in_python(code, f"runuser -u postgres -- psql --quiet --dbname=mailhosting --command='{query}'")


SANDBOXES: Final = {
    "postfix.service": Sandbox(
        {
            **AS_ROOT,
            "read the mailboxes": Act(f"cat /var/vmail/{NO_MAIL}"),
            "read Dovecot's configuration": Act("ls /etc/dovecot | grep ."),
            "become root by a file": Act("install -m 4755 /bin/true /var/lib/postfix/e2e && rm /var/lib/postfix/e2e"),
        },
        allowed=Act("touch /var/lib/postfix/e2e && rm /var/lib/postfix/e2e && ls /var/spool/postfix/hold"),
        way=in_its_place,
        as_its_user=True,
        says_why=False,
    ),
    "dovecot.service": Sandbox(
        {
            **AS_ROOT,
            "read Postfix's configuration": Act("ls /etc/postfix | grep ."),
            "become root by a file": Act("install -m 4755 /bin/true /var/lib/dovecot/e2e && rm /var/lib/dovecot/e2e"),
            **{f"read mail in {folder}": Act(f"cat /var/spool/postfix/{folder}/{NO_MAIL}") for folder in QUEUE},
        },
        allowed=_REMOVING,
        way=in_its_place,
        as_its_user=True,
        says_why=False,
    ),
    "mailhosting-remove-mailboxes.service": Sandbox(
        {
            "write code to run": MAKING_CODE,
            "be root of a namespace": MAKING_A_NAMESPACE,
            **{
                f"look into {folder}": Act(f"ls {folder} | grep .")
                for folder in ("/etc/mailhosting", "/etc/dovecot", "/etc/postfix", "/var/spool/postfix", "/run/dovecot")
            },
            "see other processes": SEEING_PROCESSES,
            "see the system": Act("ls /proc/sys/kernel/hostname"),
            "talk to the network": OPENING_A_SOCKET,
            "take less of the processor": Act("chrt --idle 0 true"),
            "let others read": Act("umask | grep 22"),
        },
        allowed=Act(f"{_REMOVING.command} && {REACHING_THE_DIRECTORY.command}"),
        way=in_its_place,
        as_its_user=True,
        says_why=False,
        excepted={
            "ReadWritePaths": "/var/vmail",
            "InaccessiblePaths": "-/etc/mailhosting -/etc/dovecot -/etc/postfix -/etc/ssl/private -/var/lib/dovecot"
            " -/var/lib/mailhosting -/var/lib/postgresql -/var/lib/valkey -/var/spool/postfix -/run/dovecot",
        },
    ),
    "mailhosting-retention@run.service": Sandbox(
        {**_AT_NIGHT, "make a namespace": MAKING_A_NAMESPACE},
        allowed=_REMOVING,
        way=in_its_place,
        excepted=_AMONG_MAILBOXES,
    ),
    "mailhosting-usage.service": Sandbox(
        _AT_NIGHT,
        allowed=Act("doveadm mailbox status -u bill@bolt.example vsize INBOX"),
        way=in_its_place,
        excepted=_AMONG_MAILBOXES,
    ),
    "mailhosting-password@x.service": Sandbox(
        {
            **WRITING,
            "read the keys of APOP's secrets": Act("cat /etc/mailhosting/legacy.keys"),
            "read Dovecot's configuration": Act("ls /etc/dovecot"),
            "read mailboxes": Act("ls /var/vmail"),
            "write a folder of the system": writing("/var/intruder"),
            "change its own program": writing("/usr/lib/mailhosting/intruder"),
            "talk to the network": OPENING_A_SOCKET,
            "make a namespace": MAKING_A_NAMESPACE,
        },
        allowed=REACHING_THE_DIRECTORY,
        way=in_its_place,
        excepted={
            "PrivateUsers": "no",
            "InaccessiblePaths": f"{_SHUT} -/etc/mailhosting -/etc/postfix -/var/spool",
        },
    ),
    "mailhosting-end-sessions@x.service": Sandbox(
        {
            **AS_ROOT,
            "read passwords": Act("cat /etc/shadow"),
            "read keys": Act("ls /etc/mailhosting/tls"),
            "read Dovecot's configuration": Act("cat /etc/dovecot/dovecot.conf"),
            "ask Dovecot for more": Act("test -e /run/dovecot/auth-master || test -e /run/dovecot/doveadm-server"),
            "ask the directory": Act("ls /run/postgresql/.s.*"),
            "read mailboxes": READING_MAILBOXES,
            "read the queue": Act("ls /var/spool/postfix/."),
            "talk to the network": OPENING_A_SOCKET,
        },
        allowed=Act("doveadm -c /usr/local/lib/mailhosting/doveadm.conf kick nobody@e2e.example"),
        way=in_its_place,
        says_why=False,
        excepted={
            "PrivateUsers": "no",
            "InaccessiblePaths": f"{_SHUT} -/etc/mailhosting -/etc/postfix -/etc/postgresql -/etc/ssh -/etc/shadow"
            " -/etc/gshadow",
        },
    ),
    "mailhosting-directory-away.service": Sandbox(
        {
            **WRITING,
            **_ELSEWHERE,
            "read Dovecot's configuration": READING_DOVECOT,
            "reach Dovecot": REACHING_DOVECOT,
            "read mailboxes": Act("ls /var/vmail/."),
            "make a namespace": MAKING_A_NAMESPACE,
        },
        allowed=REACHING_THE_DIRECTORY,
        way=in_its_place,
        excepted={
            "InaccessiblePaths": f"{_SHUT} -/etc/mailhosting -/etc/postfix -/run/dovecot -/var/spool/postfix",
        },
    ),
    "postsrsd.service": Sandbox(
        {
            "write the configuration": writing("/etc/passwd"),
            "read the loopback key": Act("cat /etc/mailhosting/loopback.pem"),
            "write its own folder": writing("/var/lib/postsrsd/intruder"),
        },
        allowed=_INNOCENT,
        way=in_its_namespaces(),
    ),
    "fail2ban.service": Sandbox(
        {
            "read Dovecot's configuration": Act("cat /etc/dovecot/auth.conf"),
            "read mailboxes": Act("ls /var/vmail/."),
            "read a key": Act("cat /etc/mailhosting/tls/shared/key.pem"),
            "write the configuration": writing("/etc/intruder"),
        },
        allowed=_INNOCENT,
        way=in_its_namespaces("--mount", by="setpriv --bounding-set=-all --inh-caps=-all"),
    ),
    "mailhosting-notices.service": Sandbox(
        {
            **WRITING,
            "read mailboxes": READING_MAILBOXES,
            "read Dovecot's configuration": READING_DOVECOT,
            "read keys": Act("ls /etc/mailhosting/loopback.pem"),
            "write its settings": writing("/etc/mailhosting/notices/settings.json"),
            "write Postfix's queue": writing("/var/spool/postfix/incoming/x"),
            "reach a network": REACHING_A_PORT,
        },
        allowed=_INNOCENT,
        way=in_its_namespaces("--all"),
        excepted={
            "PrivateUsers": "no",
            "ReadWritePaths": "-/var/spool/postfix/maildrop",
            "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
            "InaccessiblePaths": f"{_SHUT} -/etc/mailhosting -/var/lib/mailhosting",
        },
    ),
    "mailhosting-policy.service": Sandbox(
        {
            **WRITING,
            "reach a port": REACHING_A_PORT,
            "change its own program": writing("/usr/lib/mailhosting/mailhosting/policy/decision.py"),
            "read mailboxes": READING_MAILBOXES,
            "read Postfix's configuration": Act("cat /etc/postfix/main.cf"),
            "read Dovecot's configuration": READING_DOVECOT,
            "reach Dovecot": REACHING_DOVECOT,
        },
        allowed=_INNOCENT,
        way=in_its_namespaces(),
        excepted={"InaccessiblePaths": f"{_SHUT} -/etc/mailhosting -/etc/postfix -/run/dovecot"},
    ),
    "valkey-server.service": Sandbox(
        {**WRITING, "reach a port": REACHING_A_PORT},
        allowed=_INNOCENT,
        way=by_code,
    ),
    "mailhosting-gate@in.service": Sandbox(
        {
            "write its settings": _in_python("open('/etc/mailhosting/x', 'w')", "test -d /etc/mailhosting"),
            "make a socket of Postfix's": _in_python(
                "open('/var/spool/postfix/private/x', 'w')", "test -d /var/spool/postfix/private"
            ),
            "read mailboxes": _in_python("open('/var/vmail')", "ls /var/vmail"),
            "read passwords": _in_python("open('/etc/shadow')", "cat /etc/shadow"),
            "reach a port": _in_python(
                "__import__('socket').create_connection(('127.0.0.1', 25), 2)", REACHING_A_PORT.command
            ),
            "read a hash": _asking("SELECT * FROM v1.passdb"),
            "read a table": _asking("TABLE directory.account"),
        },
        allowed=REACHING_THE_DIRECTORY,
        way=in_its_place,
        excepted={
            "UMask": "0007",
            "ReadWritePaths": "/var/spool/postfix/mailhosting-gate /var/spool/mailhosting-gate",
            "InaccessiblePaths": f"{_SHUT} -/etc/mailhosting -/etc/postfix -/run/dovecot",
        },
    ),
    "clamav-daemon.service": Sandbox(
        {
            **_SCANNING,
            "change its signatures": writing("/var/lib/clamav/intruder.ndb"),
            "reach a port": REACHING_A_PORT,
            "talk to the network": OPENING_A_SOCKET,
        },
        allowed=Act("touch /var/lib/clamav/scans/e2e && rm /var/lib/clamav/scans/e2e"),
        way=in_its_place,
        excepted={"InaccessiblePaths": f"{_SHUT} {_BESIDE_SCANNERS}"},
    ),
    "clamav-freshclam.service": Sandbox(
        {**_SCANNING, "write its settings": writing("/etc/clamav/freshclam.conf")},
        allowed=Act(f"touch /var/lib/clamav/e2e && rm /var/lib/clamav/e2e && {OPENING_A_SOCKET.command}"),
        way=in_its_place,
        excepted={
            "PrivateNetwork": "no",
            "IPAddressDeny": "",
            "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
            "ReadWritePaths": "/var/lib/clamav",
            "InaccessiblePaths": f"{_SHUT} {_BESIDE_SCANNERS}",
        },
    ),
    "mailhosting-acme-order.service": Sandbox(
        {
            "read a key that serves": Act("cat /etc/mailhosting/tls/shared/key.pem"),
            "write a certificate that serves": Act("touch /etc/mailhosting/tls/shared/fullchain.pem"),
            "write the configuration": Act("touch /etc/passwd"),
            "write the program": writing("/usr/local/lib/mailhosting/certificates/intruder.py"),
            "read the mail": Act("ls /var/vmail/."),
            "become root": Act("setpriv --reuid=0 true"),
        },
        allowed=Act("touch /var/lib/mailhosting-acme/e2e && rm /var/lib/mailhosting-acme/e2e"),
        way=in_its_place,
    ),
    "mailhosting-acme.service": Sandbox(
        {
            "write a system file": AS_ROOT["write a system file"],
            "write the program": Act(
                "touch /usr/local/lib/mailhosting/intruder && rm /usr/local/lib/mailhosting/intruder"
            ),
            "write code to run": MAKING_CODE,
            "mount": AS_ROOT["mount"],
            "take the processor": AS_ROOT["take the processor"],
            "set up the kernel": AS_ROOT["set up the kernel"],
            "change the root folder": Act("chroot / true"),
            "talk to the network": Act("bash -c 'echo >/dev/tcp/127.0.0.1/25'"),
        },
        allowed=Act("touch /etc/mailhosting/tls/e2e && rm /etc/mailhosting/tls/e2e"),
        way=in_its_place,
        as_its_user=True,
        says_why=False,
    ),
}


#: Units that not every host has.
_SOME: Final = {"clamav-daemon.service", "clamav-freshclam.service", "mailhosting-policy.service"}
#: Units of programs that every host has.
PROGRAMS: Final = sorted(
    unit for unit, sandbox in SANDBOXES.items() if sandbox.excepted is not None and unit not in _SOME
)


def forbidden(*units: str) -> list[Any]:
    """A case for each act of each unit, as `(unit, act)`."""
    return [
        pytest.param(unit, act, id=f"{unit.partition('.')[0]}: {act}")
        for unit in units
        for act in SANDBOXES[unit].forbidden
    ]
