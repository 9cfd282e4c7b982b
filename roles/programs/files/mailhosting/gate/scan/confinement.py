# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process gives up before it reads what strangers wrote: files, other processes, the network, time, memory."""

from __future__ import annotations

import ctypes
import errno
import resource
from typing import Final

#: Seconds of processor time, and octets of memory beside what the process has already.
MOST_CPU: Final = 60
MOST_MEMORY: Final = 160 << 20

# seccomp(2): the system calls that reading an archive and answering need; all others fail with EPERM.
_ARCHITECTURES: Final = {
    # x86-64: read, write, close, fstat, poll, lseek, mmap, mprotect, munmap, brk, rt_sigaction, rt_sigprocmask and
    # rt_sigreturn, pread64, readv, writev, sched_yield, mremap, madvise, sendto, recvfrom, sendmsg, recvmsg, exit and
    # futex, clock_gettime, exit_group, newfstatat, and last getrandom.
    0xC000003E: (
        *(0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 19, 20, 24, 25, 28, 44, 45, 46, 47, 60, 202, 228, 231, 262),
        318,
    ),
    # aarch64: the same, with ppoll.
    0xC00000B7: (
        *(63, 64, 57, 80, 73, 62, 222, 226, 215, 214, 134, 135, 139, 67, 65, 66, 124, 216, 233, 206, 207, 211, 212, 93),
        *(98, 113, 94, 79, 278),
    ),
}
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38


class _Filter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Filter)))


def confine() -> None:
    """Give up files, other processes and the network; bound memory and time.

    Raises: OSError.
    """
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes a while to import
        size = int(file.read().split()[0]) * resource.getpagesize()
    for limit, most in (
        (resource.RLIMIT_AS, size + MOST_MEMORY),
        (resource.RLIMIT_CPU, MOST_CPU),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    load, equal, answer = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EPERM
    program = [(load, 0, 0, 4)]
    for architecture, calls in _ARCHITECTURES.items():
        checks = [(load, 0, 0, 0), *((equal, len(calls) - at, 0, call) for at, call in enumerate(calls))]
        checks += [(answer, 0, 0, refuse), (answer, 0, 0, allow)]
        program += [(equal, 0, len(checks), architecture), *checks]
    program.append((answer, 0, 0, refuse))
    code = (_Filter * len(program))(*(_Filter(*each) for each in program))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, first, second in (
        (_PR_SET_NO_NEW_PRIVS, 1, None),
        (_PR_SET_SECCOMP, 2, ctypes.byref(_Program(len(program), code))),
    ):
        if libc.prctl(option, first, second, None, None):
            raise OSError(ctypes.get_errno(), "prctl")
