"""The filter of system calls: what no reader ever needs, the kernel refuses to all of this process (seccomp(2)).

A list of what is refused, rather than of what is allowed: a library may use a harmless call tomorrow that it does not
use today. Calls that came with Linux 6.5 or later are as if they were not there, as on the kernels before. No file is
opened for writing, made, renamed or removed: a reader writes into what it was given open.

**Threading:** called by the main thread of a worker, before any library could start a thread; threads inherit it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2

#: By machine: what the kernel calls it (linux/audit.h), and its column in the tables.
_MACHINES: Final = {"x86_64": (0xC000003E, 1), "aarch64": (0xC00000B7, 2)}
#: The first of the numbers by which x32 programs make the calls of x86_64.
_X32_CALLS: Final = 0x40000000
#: The first number that no kernel before 6.5 knows.
_NEW_CALLS: Final = 451

# Each call with its number on x86_64 and on aarch64; a test compares them with the headers of Linux.
#: Refused with EACCES: a network, and a process behind a socket.
_NETWORK: Final = """
    socket:41:198 socketpair:53:199 connect:42:203 accept:43:202 accept4:288:242 bind:49:200 listen:50:201
    sendto:44:206 sendmsg:46:211 sendmmsg:307:269 recvfrom:45:207 recvmsg:47:212 recvmmsg:299:243 shutdown:48:210
    getsockname:51:204 getpeername:52:205 setsockopt:54:208 getsockopt:55:209
"""
#: Refused with ENOSYS, whereupon libraries do without: threads and files the new way, work handed to the kernel.
_ABSENT: Final = """
    clone3:435:435 openat2:437:437 io_uring_setup:425:425 io_uring_enter:426:426 io_uring_register:427:427
    io_setup:206:0 io_destroy:207:1 io_getevents:208:4 io_submit:209:2 io_cancel:210:3 io_pgetevents:333:292
"""
#: Refused with EPERM: other programs and processes, the machine, its keys, what names and changes files.
_NEEDLESS: Final = """
    execve:59:221 execveat:322:281 fork:57:- vfork:58:- ptrace:101:117 process_vm_readv:310:270
    process_vm_writev:311:271 process_madvise:440:440 process_mrelease:448:448 kcmp:312:272 pidfd_open:434:434
    pidfd_getfd:438:438 pidfd_send_signal:424:424 get_robust_list:274:100 setsid:112:157 setpgid:109:154
    setpriority:141:140 ioprio_set:251:30 sched_setscheduler:144:119 sched_setparam:142:118 sched_setattr:314:274
    migrate_pages:256:238 move_pages:279:239 setuid:105:146 setgid:106:144 setreuid:113:145 setregid:114:143
    setresuid:117:147 setresgid:119:149 setgroups:116:159 setfsuid:122:151 setfsgid:123:152 capset:126:91
    personality:135:92 seccomp:317:277 add_key:248:217 request_key:249:218 keyctl:250:219 unshare:272:97
    setns:308:268 chroot:161:51 pivot_root:155:41 mount:165:40 umount2:166:39 mount_setattr:442:442
    move_mount:429:429 open_tree:428:428 fsopen:430:430 fsconfig:431:431 fsmount:432:432 fspick:433:433 bpf:321:280
    perf_event_open:298:241 userfaultfd:323:282 kexec_load:246:104 kexec_file_load:320:294 init_module:175:105
    finit_module:313:273 delete_module:176:106 swapon:167:224 swapoff:168:225 reboot:169:142 acct:163:89
    quotactl:179:60 quotactl_fd:443:443 nfsservctl:180:42 syslog:103:116 vhangup:153:58 sethostname:170:161
    setdomainname:171:162 settimeofday:164:170 clock_settime:227:112 clock_adjtime:305:266 adjtimex:159:171
    name_to_handle_at:303:264 open_by_handle_at:304:265 lookup_dcookie:212:18 fanotify_init:300:262
    fanotify_mark:301:263 inotify_init:253:- inotify_init1:294:26 inotify_add_watch:254:27 inotify_rm_watch:255:28
    memfd_create:319:279 memfd_secret:447:447 shmget:29:194 shmat:30:196 shmctl:31:195 shmdt:67:197 semget:64:190
    semop:65:193 semctl:66:191 semtimedop:220:192 msgget:68:186 msgsnd:69:189 msgrcv:70:188 msgctl:71:187
    mq_open:240:180 mq_unlink:241:181 mq_timedsend:242:182 mq_timedreceive:243:183 mq_notify:244:184
    mq_getsetattr:245:185 splice:275:76 tee:276:77 vmsplice:278:75 mincore:27:232 sync:162:81 syncfs:306:267
    creat:85:- rename:82:- renameat:264:38 renameat2:316:276 unlink:87:- unlinkat:263:35 rmdir:84:- mkdir:83:-
    mkdirat:258:34 mknod:133:- mknodat:259:33 link:86:- linkat:265:37 symlink:88:- symlinkat:266:36 chmod:90:-
    fchmod:91:52 fchmodat:268:53 chown:92:- fchown:93:55 lchown:94:- fchownat:260:54 truncate:76:45 utime:132:-
    utimes:235:- futimesat:261:- utimensat:280:88 setxattr:188:5 lsetxattr:189:6 fsetxattr:190:7 getxattr:191:8
    lgetxattr:192:9 fgetxattr:193:10 listxattr:194:11 llistxattr:195:12 flistxattr:196:13 removexattr:197:14
    lremovexattr:198:15 fremovexattr:199:16 iopl:172:- ioperm:173:- modify_ldt:154:- uselib:134:- ustat:136:-
    sysfs:139:- _sysctl:156:- create_module:174:- get_kernel_syms:177:- query_module:178:- getpmsg:181:-
    putpmsg:182:- afs_syscall:183:- tuxcall:184:- security:185:- vserver:236:-
"""
#: Refused or allowed by what is asked of them.
_JUDGED: Final = """
    clone:56:220 open:2:- openat:257:56 kill:62:129 tkill:200:130 tgkill:234:131 rt_sigqueueinfo:129:138
    rt_tgsigqueueinfo:297:240 prctl:157:167 prlimit64:302:261 fcntl:72:25 ioctl:16:29
"""

#: Of clone(2): a thread, and what no thread has: namespaces of its own.
_CLONE_THREAD: Final = 0x00010000
_CLONE_NEW: Final = 0x7E020000
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
#: Of prctl(2), in order: name a thread and memory, and questions. Not: outlive the server, let oneself be traced.
_PRCTLS: Final = (3, 15, 16, 21, 23, 27, 30, 39, 42, 0x53564D41)
#: Of ioctl(2): what open() asks of a file, and flags of a descriptor. Not: type into somebody's terminal.
_IOCTLS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
#: Of fcntl(2), what sends signals or keeps others from a file: F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY.
_FCNTLS: Final = (8, 10, 15, 1024, 1026)

# Instructions of the kernel's packet filter (linux/filter.h).
_LOAD, _EQUAL, _GREATER, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000
# Where a call's number, its machine and the low half of its arguments are (struct seccomp_data, little-endian).
_NUMBER, _MACHINE, _ARGUMENT = 0, 4, 16

#: One instruction: what to do, how many to skip if so and if not, and with which value.
_Step = tuple[int, int, int, int]


class _Rule(NamedTuple):
    """What decides about one call: its `argument`, against `values`, which are those allowed or those refused."""

    argument: int
    values: Iterable[int]
    allowed: bool = True
    error: int = errno.EPERM


def install(libc: ctypes.CDLL) -> bool:
    """Have the kernel filter the calls of this thread and of all it starts, for good; say whether it does.

    Args:
        libc: loaded with `use_errno`.
    """
    machine, column = _MACHINES.get(platform.machine(), (0, 0))
    if sys.platform != "linux" or not column or sys.maxsize < 2**32 or sys.byteorder != "little":
        return False
    steps = list(_program(machine, column, os.getpid()))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    head = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, head, 0, 0) == 0)


def numbers(column: int) -> dict[str, int]:
    """Return the number of each call in the tables: column 1 is x86_64, 2 is aarch64."""
    words = " ".join((_NETWORK, _ABSENT, _NEEDLESS, _JUDGED)).split()
    entries = (word.split(":") for word in words)
    return {entry[0]: int(entry[column]) for entry in entries if entry[column] != "-"}


def _program(machine: int, column: int, own: int) -> Iterator[_Step]:
    refuse = (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    yield from ((_LOAD, 0, 0, _MACHINE), (_EQUAL, 1, 0, machine), refuse)
    yield from ((_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32_CALLS), refuse)
    yield from ((_AT_LEAST, 0, 1, _NEW_CALLS), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS))
    number = numbers(column)
    for table, error in ((_NETWORK, errno.EACCES), (_ABSENT, errno.ENOSYS), (_NEEDLESS, errno.EPERM)):
        names = (word.partition(":")[0] for word in table.split())
        for low, high in _ranges(number[name] for name in names if name in number):
            # Its number stays loaded: three instructions for a range of calls.
            yield from ((_AT_LEAST, 0, 2, low), (_GREATER, 1, 0, high), (_RETURN, 0, 0, _REFUSE | error))
    for name, judge in _judges(own).items():
        if name in number:
            yield (_EQUAL, 0, len(judge), number[name])
            yield from judge
    yield (_RETURN, 0, 0, _ALLOW)


def _judges(own: int) -> dict[str, list[_Step]]:
    """Return how each call is judged by its arguments; `own` is the pid of this process."""
    allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    thread = [
        (_LOAD, 0, 0, _ARGUMENT),
        (_ANY_BIT, 1, 0, _CLONE_NEW),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        refuse,
        allow,
    ]
    signals = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
    rules = {
        **dict.fromkeys(signals, _Rule(0, (own,))),  # abort() is a signal to oneself
        "prlimit64": _Rule(0, (0, own)),
        "prctl": _Rule(0, _PRCTLS),
        "ioctl": _Rule(1, _IOCTLS),
        "fcntl": _Rule(1, _FCNTLS, allowed=False),
    }
    return {
        "clone": thread,
        "open": _opening(1),
        "openat": _opening(2),
        **{name: _compared(rule) for name, rule in rules.items()},
    }


def _opening(flags: int) -> list[_Step]:
    return [
        (_LOAD, 0, 0, _ARGUMENT + 8 * flags),
        (_ANY_BIT, 0, 1, _WRITING),
        (_RETURN, 0, 0, _REFUSE | errno.EACCES),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _compared(rule: _Rule) -> list[_Step]:
    values = list(rule.values)
    found, other = (_ALLOW, _REFUSE | rule.error) if rule.allowed else (_REFUSE | rule.error, _ALLOW)
    return [
        (_LOAD, 0, 0, _ARGUMENT + 8 * rule.argument),
        *((_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)),
        (_RETURN, 0, 0, other),
        (_RETURN, 0, 0, found),
    ]


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of each run of numbers without a gap."""
    first = last = -1
    for number in sorted(numbers):
        if number != last + 1 or first < 0:
            if first >= 0:
                yield first, last
            first = number
        last = number
    yield first, last
