#!/usr/bin/python3 -IS
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a test host: Python for Ansible, which runs standard input in a child of module_server if that is running."""

import _socket  # ten times as fast to import as socket
import os
import sys
from array import array

PYTHON = "/usr/bin/python3"

server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
try:
    if len(sys.argv) > 1:
        raise FileNotFoundError  # the program is not in standard input
    server.connect(__file__.replace("module_client.py", "socket"))
except OSError:
    os.execv(PYTHON, [PYTHON, *sys.argv[1:]])  # noqa: S606
environment = b"\0".join(b"=".join(pair) for pair in os.environb.items())
server.sendmsg([environment], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [0, 1, 2]))])
sys.exit(int(server.recv(8) or 1))
