"""Where a key comes from, and how one is put there: a file of mode 0600, a command, the desktop's keyring (X1).

Nothing here prints a key, and no message holds one.

**Threading:** called once by the main thread, before the daemon is made: a command may ask at the terminal.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from shlex import quote
from typing import Any, Final

from moonfs import packages
from moonfs.config import Directories, make_private
from moonfs.errors import UsageError
from moonfs.profiles import Configuration, open_at_once, variables
from moonfs.settings import yes_or_no

#: What people and word processors put round a value; in no key, and at neither end of an address.
QUOTES: Final = "\"'`´“”„‟‘’‚‛«»‹›「」『』＂＇"
#: Under which the desktop's keyring keeps our keys.
SERVICE: Final = "moonfs"
#: Seconds for a command that may ask for a passphrase.
_COMMAND_SECONDS: Final = 120.0
_LONGEST: Final = 4096
#: `env_start` of proc_pid_stat(5), counted from the field after the name; `env_end` follows.
_ENV_START: Final = 47


def name_of(configuration: Configuration) -> str:
    """Return the name under which this profile's key is kept: in a file, or in the keyring."""
    return configuration.profile or "default"


def usual_file(configuration: Configuration, directories: Directories) -> Path:
    """Return the file that `moonfs key set` writes, and that counts where nothing says where the key is."""
    return directories.config / "keys" / name_of(configuration)


def origin(configuration: Configuration, directories: Directories) -> str:
    """Return where the key would be taken from; empty where there is none. Takes nothing."""
    source = configuration.key_source()
    if source is not None:
        kind, value = source
        # A command may have a secret in it.
        where = "" if kind == "api_key_command" else f" {value.text}"
        return value.origin if kind == "api_key" else f"{kind}{where} ({value.origin})"
    usual = usual_file(configuration, directories)
    return str(usual) if os.path.exists(usual) else ""


def find(configuration: Configuration, directories: Directories) -> str:
    """Return the key of the hosted account.

    Raises:
        UsageError: there is none, or where it should be does not give it; says what to do.
    """
    source = configuration.key_source()
    if source is None:
        usual = usual_file(configuration, directories)
        if os.path.exists(usual):
            return read_file(usual)
        profile = f" --profile {quote(configuration.profile)}" if configuration.profile else ""
        raise UsageError(
            "No API key: set MOONSHOT_API_KEY (or KIMI_API_KEY), or add --local to mount the local Files API, which "
            f"needs no account, or keep a key with: moonfs key set{profile}"
        )
    kind, value = source
    if kind == "api_key":
        return _usable(value.text, value.origin)
    if kind == "api_key_file":
        return read_file(Path(os.path.expanduser(value.text)))
    if kind == "api_key_command":
        return _from_command(value.text, value.origin)
    return _from_keyring(name_of(configuration) if _is_switch(value.text) else value.text)


def leave_environment() -> None:
    """Take keys out of the environment of this process, which lives long, and of what it starts (X1).

    `/proc/PID/environ` shows the memory that the kernel has put the environment into, whatever was unset since, and the
    place of it is in the last fields of `/proc/PID/stat` (proc(5)); so it is overwritten there.
    """
    names = variables("api_key")
    for name in names:
        os.environ.pop(name, None)
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = int(fields[_ENV_START]), int(fields[_ENV_START + 1])
    except (OSError, ValueError, IndexError):  # another kernel
        return
    if not 0 < start < end:
        return
    key = re.compile(rb"(?:\A|\0)((?:%s)=[^\0]*)" % "|".join(names).encode())
    for found in key.finditer(ctypes.string_at(start, end - start)):
        ctypes.memset(start + found.start(1), 0, len(found[1]))


def _is_switch(text: str) -> bool:
    try:
        return yes_or_no(text)
    except ValueError:
        return False


def read_file(path: Path) -> str:
    """Return the first line of a file that nobody else may read (X1).

    Raises:
        UsageError: it is not there, not ours, open to others, or holds no key.
    """
    try:
        with open(path, encoding="utf-8", errors="replace", opener=open_at_once) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"The key file {path} is no regular file; write one with: moonfs key set")
            if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o077:
                raise UsageError(
                    f"Others can read or own the key file {path}; make it yours alone: "
                    f"chown $USER {quote(str(path))}; chmod 600 {quote(str(path))}"
                )
            return _usable(stream.readline(_LONGEST + 1), str(path))
    except OSError as error:
        raise UsageError(
            f"Cannot read the key file {path}: {error.strerror}; moonfs config shows what names it."
        ) from error


def write_file(path: Path, key: str) -> None:
    """Keep a key in a file of mode 0600, replacing what is there in one step.

    Raises:
        UsageError: it cannot be written, or is no key.
    """
    key = _usable(key, "what was given", "copy the key, and give it in one line.")
    make_private(path.parent)
    try:
        fd, new = tempfile.mkstemp(dir=path.parent, prefix=".key-")
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as stream:
                stream.write(key + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(new, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
    except OSError as error:
        raise UsageError(f"Cannot keep the key in {path}: {error.strerror}; mend that, then set it again.") from error


def store_in_keyring(name: str, key: str) -> None:
    """Keep a key in the desktop's keyring. Raises UsageError where there is none."""
    key = _usable(key, "what was given", "copy the key, and give it in one line.")
    keyring = _keyring()
    try:
        keyring.set_password(SERVICE, name, key)
    except Exception as error:
        raise UsageError(
            f"The keyring did not take the key ({type(error).__name__}); unlock it, or keep the key in a "
            "file: moonfs key set"
        ) from error


def _from_keyring(name: str) -> str:
    keyring = _keyring()
    try:
        key = keyring.get_password(SERVICE, name)
    except Exception as error:
        raise UsageError(f"The keyring did not answer ({type(error).__name__}); unlock it, then try again.") from error
    if key is None:
        raise UsageError(f"The keyring has no key under {name!r}; put it there with: moonfs key set --keyring")
    return _usable(key, f"the keyring's {name!r}")


def _keyring() -> Any:
    try:
        import keyring  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise UsageError(
            f"Keyrings need the extra `keyring` ({error.name} is missing); install it with: "
            f"{packages.line_for('keyring')}"
        ) from error
    return keyring


def _from_command(command: str, where: str) -> str:
    """Return the first line that a command of the shell prints; it may ask at the terminal."""
    try:
        process = subprocess.Popen(  # noqa: S602 - it is the person's own command, from their own file
            command, shell=True, stdout=subprocess.PIPE
        )
        with process:
            try:
                printed = _read(process, time.monotonic() + _COMMAND_SECONDS)
            except BaseException:
                process.kill()
                raise
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"The api_key_command of {where} did not end within {_COMMAND_SECONDS:.0f} s; run it by hand to see why."
        ) from None
    except OSError as error:
        raise UsageError(
            f"The api_key_command of {where} cannot be run: {error.strerror}; put it right there."
        ) from error
    if len(printed) > _LONGEST:
        raise UsageError(f"The api_key_command of {where} prints far more than a key; have it print the key alone.")
    if process.returncode != 0:
        how = f"exit status {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise UsageError(f"The api_key_command of {where} failed with {how}; run it by hand to see why.")
    return _usable(printed.decode("utf-8", "replace").partition("\n")[0], f"the api_key_command of {where}")


def _read(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """Return what a command prints, to its end or to what is too much; raises TimeoutExpired at the deadline."""
    assert process.stdout is not None
    printed = b""
    while len(printed) <= _LONGEST:
        left = max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([process.stdout], [], [], left)
        if not ready:
            raise subprocess.TimeoutExpired(process.args, left)
        chunk = os.read(process.stdout.fileno(), _LONGEST)
        if not chunk:
            process.wait(max(0.0, deadline - time.monotonic()))
            return printed
        printed += chunk
    process.kill()
    return printed


def _usable(text: str, where: str, step: str = "put one there, or keep it with: moonfs key set") -> str:
    """Return a key without what pasting leaves round it.

    Raises:
        UsageError: there is nothing, or what no header of HTTP takes (RFC 9110, 5.5).
    """
    key = text.strip()
    if not key:
        raise UsageError(f"There is no key in {where}; {step}")
    if key[0] in QUOTES or key[-1] in QUOTES:
        raise UsageError(f"The key in {where} stands in quotation marks; write it without them.")
    if len(key) > _LONGEST or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(
            f"What is in {where} is no key: keys are one word of plain letters, digits and dashes; copy it once more."
        )
    return key
