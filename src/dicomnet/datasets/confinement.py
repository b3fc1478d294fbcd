"""What a process that decodes strangers' bytes is left with: little memory; no network, files or other processes.

None of it needs rights. On Linux (x86-64 and AArch64) the kernel refuses system calls by a seccomp filter; elsewhere
only the limits hold, of which the one on open files leaves room for the one file that is given.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..values import frozen

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
# Results of a filter (include/uapi/linux/seccomp.h).
_KILL, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
# Instructions of a filter: load a word of struct seccomp_data, compare, return.
_LOAD, _EQUAL, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _MACHINE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
# Numbers from here on belong to the x32 form of x86-64.
_X32 = 0x40000000
_CLONE_THREAD = 0x10000


@frozen
class Limits:
    """What a process may use.

    Parameters
    ----------
    memory
        Address space in bytes.
    processor_seconds
        Processor time for one request.
    """

    memory: int
    processor_seconds: int


class _Numbers(NamedTuple):
    """A system call's numbers: on x86-64, and on AArch64 where it has one."""

    x86_64: int
    aarch64: int | None


# Refused with EPERM: what makes or uses sockets, opens or changes files by name, starts programs, touches other
# processes.
_REFUSED = {
    "open": _Numbers(2, None),
    "creat": _Numbers(85, None),
    "openat": _Numbers(257, 56),
    "openat2": _Numbers(437, 437),
    "open_by_handle_at": _Numbers(304, 265),
    "socket": _Numbers(41, 198),
    "socketpair": _Numbers(53, 199),
    "connect": _Numbers(42, 203),
    "bind": _Numbers(49, 200),
    "listen": _Numbers(50, 201),
    "accept": _Numbers(43, 202),
    "accept4": _Numbers(288, 242),
    "sendto": _Numbers(44, 206),
    "sendmsg": _Numbers(46, 211),
    "sendmmsg": _Numbers(307, 269),
    "io_uring_setup": _Numbers(425, 425),
    "fork": _Numbers(57, None),
    "vfork": _Numbers(58, None),
    "execve": _Numbers(59, 221),
    "execveat": _Numbers(322, 281),
    "kill": _Numbers(62, 129),
    "tkill": _Numbers(200, 130),
    "rt_sigqueueinfo": _Numbers(129, 138),
    "rt_tgsigqueueinfo": _Numbers(297, 240),
    "pidfd_open": _Numbers(434, 434),
    "pidfd_send_signal": _Numbers(424, 424),
    "pidfd_getfd": _Numbers(438, 438),
    "ptrace": _Numbers(101, 117),
    "process_vm_readv": _Numbers(310, 270),
    "process_vm_writev": _Numbers(311, 271),
    "unlink": _Numbers(87, None),
    "unlinkat": _Numbers(263, 35),
    "rename": _Numbers(82, None),
    "renameat": _Numbers(264, 38),
    "renameat2": _Numbers(316, 276),
    "link": _Numbers(86, None),
    "linkat": _Numbers(265, 37),
    "symlink": _Numbers(88, None),
    "symlinkat": _Numbers(266, 36),
    "mkdir": _Numbers(83, None),
    "mkdirat": _Numbers(258, 34),
    "rmdir": _Numbers(84, None),
    "mknod": _Numbers(133, None),
    "mknodat": _Numbers(259, 33),
    "chmod": _Numbers(90, None),
    "fchmod": _Numbers(91, 52),
    "fchmodat": _Numbers(268, 53),
    "chown": _Numbers(92, None),
    "fchown": _Numbers(93, 55),
    "lchown": _Numbers(94, None),
    "fchownat": _Numbers(260, 54),
    "truncate": _Numbers(76, 45),
    "utimensat": _Numbers(280, 88),
    "setxattr": _Numbers(188, 5),
    "fsetxattr": _Numbers(190, 7),
    "memfd_create": _Numbers(319, 279),
    "shmget": _Numbers(29, 194),
    "msgget": _Numbers(68, 186),
    "semget": _Numbers(64, 190),
    "mq_open": _Numbers(240, 180),
    "mount": _Numbers(165, 40),
    "chroot": _Numbers(161, 51),
    "unshare": _Numbers(272, 97),
    "setns": _Numbers(308, 268),
    "bpf": _Numbers(321, 280),
    "perf_event_open": _Numbers(298, 241),
    "userfaultfd": _Numbers(323, 282),
    "add_key": _Numbers(248, 217),
    "request_key": _Numbers(249, 218),
    "keyctl": _Numbers(250, 219),
}
_CLONE, _CLONE3, _TGKILL, _PRLIMIT = (
    _Numbers(56, 220),
    _Numbers(435, 435),
    _Numbers(234, 131),
    _Numbers(302, 261),
)
# By the machine's name: which of the numbers are its, and the kernel's name of it (include/uapi/linux/audit.h).
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def confine(limits: Limits) -> bool:
    """Give up for good what decoding does not need; all that has to be imported is imported before.

    Returns
    -------
    bool
        Whether network, files and other processes are out of reach too, and not only the use of resources is limited.
    """
    _limit(limits)
    return _filter_calls()


def allow_processor_time(limits: Limits) -> None:
    """Before a request: end the process if it takes more processor time for it than it may."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    end = int(used.ru_utime + used.ru_stime) + limits.processor_seconds + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (end, hard))


def _limit(limits: Limits) -> None:
    import resource

    free = os.dup(0)
    os.close(free)
    for which, value in (
        (resource.RLIMIT_AS, limits.memory),
        # No file grows by it, and none but the given one fits in.
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, free + 1),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def _filter_calls() -> bool:
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine not in _MACHINES or struct.calcsize("P") != 8:
        return False
    which, audit = _MACHINES[machine]
    instructions = b"".join(_instructions(which, audit))
    program = ctypes.create_string_buffer(instructions, len(instructions))
    # struct sock_fprog
    filter = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(program))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_ulong]
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, None, 0, 0) != 0:
        return False
    return bool(prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter, 0, 0) == 0)


def _instructions(which: int, audit: int) -> Iterator[bytes]:
    """The filter: each call is compared with one number after the other."""
    refused = _ERRNO | errno.EPERM
    yield _step(_LOAD, _MACHINE_AT)
    yield _step(_EQUAL, audit, 1, 0)
    yield _step(_RETURN, _KILL)
    yield _step(_LOAD, _NUMBER_AT)
    if which == 0:
        yield from _answer(_AT_LEAST, _X32, refused)
    for numbers in _REFUSED.values():
        number = numbers[which]
        if number is not None:
            yield from _answer(_EQUAL, number, refused)
    # Then the C library uses clone, of which one sees what it is to make.
    yield from _answer(_EQUAL, _of(_CLONE3, which), _ERRNO | errno.ENOSYS)
    # A thread, a signal to itself, limits of itself; none of other processes.
    for numbers, test, values in (
        (_CLONE, _HAS_BITS, (_CLONE_THREAD,)),
        (_TGKILL, _EQUAL, (os.getpid(),)),
        (_PRLIMIT, _EQUAL, (0, os.getpid())),
    ):
        yield from _only_with(_of(numbers, which), test, values, refused)
    yield _step(_RETURN, _ALLOW)


def _of(numbers: _Numbers, which: int) -> int:
    number = numbers[which]
    assert number is not None
    return number


def _answer(test: int, value: int, result: int) -> Iterator[bytes]:
    yield _step(test, value, 0, 1)
    yield _step(_RETURN, result)


def _only_with(number: int, test: int, values: Sequence[int], refused: int) -> Iterator[bytes]:
    """Allow a call if its first argument is as it has to be."""
    yield _step(_EQUAL, number, 0, 2 + 2 * len(values))
    yield _step(_LOAD, _FIRST_ARGUMENT_AT)
    for value in values:
        yield _step(test, value, 0, 1)
        yield _step(_RETURN, _ALLOW)
    yield _step(_RETURN, refused)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """An instruction (struct sock_filter)."""
    return struct.pack("HBBI", code, if_true, if_false, value)
