"""The command line: the group of commands and exit codes. No policy; every error is one sentence on standard error.

    mounting      mount, umount
    configuring   config, key
    doctoring     doctor
    options       the flags of a drive
    groups        in which order commands are shown, and what is meant by a word that is none
    numbers       numbers within bounds, refused in words
    kept          the states of accounts that this user has here, mounted or not
    drives        refresh, prefetch, tidy
    syncing       sync
    showing       status, and its screen in `screen`
    reading       logs
    serving       serve
    services      service: drives that systemd mounts
    desktop       desktop: what file managers are told
    manual        manual: the man page
    completion    completion; what the Tab key offers is in `offers`
    progress      bars of what takes long; `words` for sizes and times

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import locale
import os
import sys
from typing import NoReturn

import click

import moonfs
from moonfs.cli.completion import VARIABLE, completion
from moonfs.cli.configuring import configure, key
from moonfs.cli.desktop import desktop
from moonfs.cli.doctoring import doctor
from moonfs.cli.drives import prefetch, refresh, tidy
from moonfs.cli.groups import ByKind
from moonfs.cli.manual import manual
from moonfs.cli.mounting import for_fstab, mount, umount
from moonfs.cli.reading import logs
from moonfs.cli.services import services
from moonfs.cli.serving import serve
from moonfs.cli.showing import status
from moonfs.cli.syncing import sync
from moonfs.cli.words import SHOWN, say, shown_otherwise
from moonfs.errors import UsageError

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=ByKind, context_settings=_CONTEXT)
@click.version_option(moonfs.__version__, prog_name="moonfs", message="%(prog)s %(version)s")
def cli() -> None:
    """Mount a Moonshot (Kimi) Files account as a drive.

    \b
      moonfs mount --local ~/moon      a drive on this machine, offline, no account
      moonfs key set                   keep a key of the hosted service …
      moonfs mount ~/moon              … and mount its account
      cp paper.pdf ~/moon/             upload
      cat ~/moon/paper.pdf.content     read the text the service extracted
      moonfs prefetch ~/moon           fetch all texts at once
      moonfs sync ~/moon               wait until everything is uploaded
      rm ~/moon/paper.pdf              delete
      df -h ~/moon                     the quota
      moonfs status                    uploads, what failed and what to do about it
      moonfs doctor                    what keeps a drive from working
      moonfs umount ~/moon             unmount
    """


for _command in (
    mount,
    umount,
    refresh,
    prefetch,
    tidy,
    sync,
    status,
    logs,
    configure,
    key,
    doctor,
    services,
    desktop,
    serve,
    completion,
    manual,
):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run a command and exit: 0 when it did its work, 1 when it could not, 2 when it was called wrongly."""
    _speak_utf8()
    _have_streams()
    try:
        arguments = for_fstab(os.path.basename(sys.argv[0]), sys.argv[1:], cli.commands)
        cli(arguments, standalone_mode=False, complete_var=VARIABLE)
        sys.stdout.flush()  # a disk that is full shows here
    except UsageError as error:
        say(f"moonfs: {error}", err=True)
        sys.exit(1)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        say(*shown.getvalue().removesuffix("\n").split("\n"), err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except OSError as error:
        if error.filename is not None:  # a directory that is closed to us, met where no command expects it
            say(
                f"moonfs: Cannot use {error.filename}: {error.strerror}; moonfs doctor looks at all directories.",
                err=True,
            )
            sys.exit(1)
        if not _is_lost(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        say(f"moonfs: Cannot write the output: {error.strerror}; send it somewhere else.", err=True)
        sys.exit(1)
    sys.exit(0)


def _speak_utf8() -> None:
    """Begin anew in Python's UTF-8 mode where the locale has another encoding, such as Latin-1.

    Names on a drive are UTF-8, and may be Chinese; config.toml, the states of drives and the identity of an account
    hold paths, which mean the same in every locale only when they are always read in one way. Bytes that are no UTF-8
    pass through it unchanged (PEP 540). In the locales C and POSIX Python does this by itself.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        with contextlib.suppress(OSError):
            os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - it is this program


def _have_streams() -> None:
    """Open what was closed by `>&-`, and let any text be printed.

    A descriptor below 3 that is free would become a pipe or a database, which a daemon's /dev/null then replaces.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "r" if fd == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115 - to the end
    codecs.register_error(SHOWN, shown_otherwise)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A path that is no UTF-8 is printed byte for byte; a terminal of ASCII gets question marks.
            encoding = _encoding(stream.encoding)
            is_utf8 = encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(encoding=encoding, errors="surrogateescape" if is_utf8 else SHOWN)


def _encoding(chosen: str) -> str:
    """Return how what is printed is encoded: as the locale says, though Python is in its UTF-8 mode.

    Not where somebody has chosen (PYTHONIOENCODING, PYTHONUTF8), where the locale knows ASCII alone, and for a shell's
    Tab key, which is given names of files as they are.
    """
    if VARIABLE in os.environ or any(os.environ.get(name) for name in ("PYTHONIOENCODING", "PYTHONUTF8")):
        return chosen
    try:
        named = codecs.lookup(locale.getencoding()).name
    except LookupError:
        return chosen
    return chosen if named == "ascii" else named


def _is_lost(error: OSError) -> bool:
    """Say whether it is the output that an error without a file has cost: then it may come again."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG)
