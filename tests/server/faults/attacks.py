"""What a reader would try that a document has taken over. Imported by workers of a server under test.

Each attempt is a line `name: errno`, or `name: done` when nothing held it up.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys
import tempfile
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moonfs.server.extraction.document import Document, Output

#: Numbers of system calls on x86_64 and aarch64.
NUMBERS = {
    "fork": (57, 220), "vfork": (58, 220), "clone": (56, 220), "clone3": (435, 435), "execveat": (322, 281),
    "memfd_create": (319, 279), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "tgkill": (234, 131), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97),
    "setns": (308, 268), "pivot_root": (155, 41), "chroot": (161, 51), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_setup": (206, 0),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "openat2": (437, 437), "inotify_init1": (294, 26), "fanotify_init": (300, 262),
    "shmget": (29, 194), "mq_open": (240, 180), "personality": (135, 92), "setuid": (105, 146), "capset": (126, 91),
    "seccomp": (317, 277), "fsopen": (430, 430), "open_tree": (428, 428), "move_mount": (429, 429),
    "mount_setattr": (442, 442), "setpriority": (141, 140), "syslog": (103, 116), "prctl": (157, 167),
    "landlock_create_ruleset": (444, 444), "fchmodat2": (452, 452), "statmount": (457, 457), "unheard_of": (999, 999),
    "socketpair": (53, 199), "connect": (42, 203), "sendto": (44, 206), "process_madvise": (440, 440),
}  # fmt: skip
_COLUMN = {"x86_64": 0, "aarch64": 1}
_libc = ctypes.CDLL(None, use_errno=True)


def attack(document: Document, output: Output) -> None:
    """Try everything, or what alone is asked for; the document says where things are."""
    with open(document.path, encoding="utf-8") as stream:
        where = json.load(stream)
    attempts = _files(document, where) | _processes(where) | _machine(where)
    for name, attempt in attempts.items():
        if where["only"] and name not in where["only"]:
            continue
        try:
            attempt()
            output.line(f"{name}: done")
        except OSError as error:
            output.line(f"{name}: {errno.errorcode.get(error.errno or 0, error.errno)}")
        except ValueError:  # what setrlimit() makes of EPERM
            output.line(f"{name}: EPERM")


def threads(document: Document, output: Output) -> None:
    """Do what a reader that is not taken over must be able to: start threads, load a library, read the zone of time."""
    started: list[int] = []
    running = [threading.Thread(target=started.append, args=(number,)) for number in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    __import__("numpy")
    output.line(f"{len(started)} threads, {bool(resource.getrusage(resource.RUSAGE_SELF))}")


def _files(document: Document, where: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Attempts at the user's files."""
    key, home, data = where["key"], where["home"], where["data"]
    own = os.environ["HOME"]
    import moonfs

    return {
        "read a key": lambda: Path(key).read_bytes(),
        "read a key by a link in /proc": lambda: Path(f"/proc/self/root{key}").read_bytes(),
        "read a key by openat2": lambda: _call("openat2", -100, key.encode(), bytes(24), 24),
        "list the home": lambda: os.listdir(home),
        "write into the home": lambda: Path(home, "new").write_text("x"),
        "write over a key": lambda: os.open(key, os.O_RDWR),
        "append to a key": lambda: os.open(key, os.O_WRONLY | os.O_APPEND),
        "truncate a key": lambda: os.truncate(key, 0),
        "remove a key": lambda: os.unlink(key),
        "rename a key": lambda: os.rename(key, key + ".taken"),
        "link a key into its own home": lambda: os.link(key, f"{own}/key"),
        "symlink in its own home": lambda: os.symlink(key, f"{own}/key"),
        "make a directory": lambda: os.mkdir(f"{home}/directory"),
        "make a pipe with a name": lambda: os.mkfifo(f"{home}/pipe"),
        "change a mode": lambda: os.chmod(key, 0o777),
        "change an owner": lambda: os.chown(key, os.getuid(), os.getgid()),
        "change a time": lambda: os.utime(key),
        "set an attribute": lambda: os.setxattr(key, "user.taken", b"x"),
        "read the server's key": lambda: Path(data, "key").read_bytes(),
        "list the server's files": lambda: os.listdir(data),
        "list other workers": lambda: os.listdir(f"{data}/workers"),
        "read the server's environment": lambda: Path(f"/proc/{where['parent']}/environ").read_bytes(),
        "read the server's memory": lambda: os.open(f"/proc/{where['parent']}/mem", os.O_RDONLY),
        "read the passwords": lambda: Path("/etc/shadow").read_bytes(),
        "read the users": lambda: Path("/etc/passwd").read_bytes(),
        "list processes": lambda: os.listdir("/proc"),
        "read its own open files": lambda: os.listdir("/proc/self/fd"),
        "write over the document": lambda: os.open(document.path, os.O_RDWR),
        "write into its own home": lambda: Path(own, "new").write_text("x"),
        "make a temporary file": lambda: tempfile.TemporaryFile(dir=own),
        "write over the code": lambda: os.open(moonfs.__file__, os.O_RDWR),
        "write beside the code": lambda: tempfile.NamedTemporaryFile(dir=os.path.dirname(moonfs.__file__)).close(),
        "write over a device": lambda: os.open("/dev/null", os.O_RDWR),
        "read a terminal": lambda: os.open("/dev/tty", os.O_RDONLY),
    }


def _processes(where: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Attempts at other programs and processes."""
    parent = where["parent"]
    return {
        "run a program": lambda: os.execv("/bin/true", ["true"]),
        "spawn a program": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "run a file in memory": _run_memory,
        "fork": _fork,
        "fork by number": lambda: _call("fork", signal.SIGCHLD, 0, 0, 0, 0, child=True),
        "vfork": lambda: _call("clone", signal.SIGCHLD | 0x4000 | 0x100, 0, 0, 0, 0, child=True),
        "clone into namespaces": lambda: _call("clone", signal.SIGCHLD | 0x10000000, 0, 0, 0, 0, child=True),
        "clone3": lambda: _call("clone3", struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, *[0] * 6), 88, child=True),
        "trace the server": lambda: _call("ptrace", 0x4206, parent, 0, 0),
        "be traced": lambda: _call("ptrace", 0, 0, 0, 0),
        "read another's memory": lambda: _call("process_vm_readv", parent, 0, 0, 0, 0, 0),
        "write another's memory": lambda: _call("process_vm_writev", parent, 0, 0, 0, 0, 0),
        "advise another": lambda: _call("process_madvise", 0, 0, 0, 0, 0),
        "open a process": lambda: _call("pidfd_open", os.getpid(), 0),
        "take another's file": lambda: _call("pidfd_getfd", 0, 0, 0),
        "kill the server": lambda: os.kill(parent, 0),
        "kill a group": lambda: os.killpg(parent, 0),
        "kill everything": lambda: os.kill(-1, 0),
        "kill a thread of the server": lambda: _call("tgkill", parent, parent, 0),
        "kill any thread": lambda: _call("tkill", parent, 0),
        "queue a signal": lambda: _call("rt_sigqueueinfo", parent, 0, bytes(128)),
        "send a signal by a file": lambda: fcntl.fcntl(0, fcntl.F_SETOWN, parent),
        "new session": os.setsid,
        "new group": lambda: os.setpgid(0, 0),
        "outlive the server": lambda: _call("prctl", 1, 0, 0, 0, 0),
        "let everybody trace": lambda: _call("prctl", 0x59616D61, -1, 0, 0, 0),
        "slow the server down": lambda: _call("setpriority", 0, parent, 19),
        "limit the server": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE),
        "type into a terminal": lambda: fcntl.ioctl(2, termios.TIOCSTI, b"x"),
        "shared memory": lambda: _call("shmget", 0, 4096, 0o1600),
        "message queue": lambda: _call("mq_open", b"moonfs", os.O_RDWR | os.O_CREAT, 0o600, 0),
    }


def _machine(where: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Attempts at the machine, its keys, its network, and the kernel's larger doors."""
    names = (
        "mount umount2 unshare setns pivot_root chroot bpf perf_event_open userfaultfd io_uring_setup io_setup"
        " kexec_load kexec_file_load init_module finit_module delete_module swapon swapoff reboot name_to_handle_at"
        " open_by_handle_at keyctl add_key request_key inotify_init1 fanotify_init personality setuid capset seccomp"
        " fsopen open_tree move_mount mount_setattr syslog fchmodat2 statmount unheard_of socketpair connect sendto"
    ).split()
    calls: dict[str, Callable[[], Any]] = {name: lambda name=name: _call(name, 0, 0, 0, 0, 0) for name in names}
    return {
        **calls,
        "talk to the server": lambda: socket.socket(socket.AF_UNIX).connect(where["socket"]),
        "socket by libc": lambda: _checked(_libc.socket(socket.AF_UNIX, 1, 0)),
        "netlink by libc": lambda: _checked(_libc.socket(16, 3, 0)),
        "call of x32": lambda: _checked(_libc.syscall(0x40000000 | 39)),
        "more memory": lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 50, 1 << 50)),
    }


def _call(name: str, *arguments: int | bytes, child: bool = False) -> None:
    values = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = _libc.syscall(NUMBERS[name][_COLUMN[platform.machine()]], *values)
    if child and result == 0:
        os._exit(0)
    _checked(result)


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _run_memory() -> None:
    handle = os.memfd_create("program")
    os.write(handle, Path(sys.executable).read_bytes())
    os.execve(handle, ["true"], {})
