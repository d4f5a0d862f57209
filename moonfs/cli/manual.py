"""`moonfs manual`: the page moonfs(1), made out of the commands, so that it never says other things than --help.

It is written in man(7), which groff and mandoc read, and not with click-man (MIT, 0.6.0): that has one page a command,
none of them with FILES, ENVIRONMENT or EXIT STATUS, and escapes neither backslashes nor a dot that begins a line.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import datetime
import inspect
import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import click

import moonfs
from moonfs.cli.groups import ByKind
from moonfs.cli.words import plain
from moonfs.profiles import ACCOUNT_OPTIONS, variables
from moonfs.settings import OPTIONS

#: Flags, in a line of options; all else there stands for a value.
_FLAG: Final = re.compile(r"(?<![\w-])(--?[A-Za-z][\w-]*)")

_DESCRIPTION: Final = """
A file that is copied to the drive is uploaded. Beside each file of which the service reads the text there is another,
NAME.content, with this text. The API cannot give back what was uploaded: originals can be read where they were written.

Without an account the same drive runs on the local Files API, with text extraction and OCR, wholly on this machine.
"""
_FILES: Final = (
    (
        "$XDG_CONFIG_HOME/moonfs/config.toml",
        "settings and profiles; moonfs config --example prints one with all of them.",
    ),
    ("$XDG_STATE_HOME/moonfs", "for each account what waits to be uploaded, the journal, and the log."),
    ("$XDG_CACHE_HOME/moonfs", "for each account texts that were read, and originals that were written here."),
    ("$XDG_DATA_HOME/moonfs/local", "files and key of the local Files API."),
    ("DIR/.moonfs/", "the drive's state, and other views of its files; no listing shows it."),
)
_ENVIRONMENT: Final = (
    (", ".join(variables("api_key")), "the API key of the hosted service; the first of them that is set counts."),
    (", ".join(variables("base_url")), "the address of the hosted service."),
    ("MOONFS_PROFILE, MOONFS_CONFIG", "as --profile and --config-file, which go before them."),
    (
        ", ".join(name for option in (*ACCOUNT_OPTIONS, *OPTIONS) for name in variables(option.name)[-1:]),
        "the settings of a drive, as the flags of their names, which go before them; they go before config.toml.",
    ),
    ("XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_CACHE_HOME, XDG_DATA_HOME", "where the files are: by default ~/.config, "
     "~/.local/state, ~/.cache and ~/.local/share."),
    ("XDG_RUNTIME_DIR", "where the sockets of the local Files API are; without it, in a directory of /tmp."),
)  # fmt: skip
_EXIT_STATUS: Final = (
    ("0", "The command did its work."),
    ("1", "It could not; one sentence on standard error says why, and what helps."),
    ("2", "It was called wrongly."),
    ("130", "It was ended by Ctrl-C."),
    ("141", "Nobody read its output to the end."),
)
#: Characters that groff takes for others, by the names of those that are meant (groff_char(7)).
_NAMED: Final = (("-", "\\-"), ("'", "\\(aq"), ("`", "\\(ga"), ("^", "\\(ha"), ("~", "\\(ti"))
_SEE_ALSO: Final = (("fusermount", 1), ("fuse", 4), ("fstab", 5), ("mount.fuse", 8), ("umount", 8))


def page(cli: ByKind) -> str:
    """Return moonfs(1) in man(7); its date is SOURCE_DATE_EPOCH (reproducible-builds.org), or else today."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    day = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch.isdigit() else datetime.datetime.now()
    context = click.Context(cli, info_name="moonfs")
    commands = list(_commands(context))
    summary, *blocks = _blocks(cli)
    lines = [
        "." + " ".join(["TH", "MOONFS", "1", f"{day:%Y-%m-%d}", f'"moonfs {moonfs.__version__}"', '"User Commands"']),
        ".nh",  # names of variables and files stay whole
        ".nr HY 0",  # groff 1.24 hyphenates again from the next paragraph unless this is 0 (groff_man(7))
        ".SH NAME",
        _escaped(f"moonfs - {summary[:1].lower()}{summary[1:].rstrip('.')}"),
        ".SH SYNOPSIS",
        ".nf",
        *(_usage(each) for each in commands if not isinstance(each.command, click.Group)),
        ".fi",
        ".SH DESCRIPTION",
        *_paragraphs(_DESCRIPTION.strip().split("\n\n")),
        ".SH OPTIONS",
        *_definitions(_options(context)),
        ".SH COMMANDS",
        *_definitions((title, ", ".join(str(each.name) for each in found) + ".") for title, found in cli.kinds()),
    ]
    for each in commands:
        lines += [f'.SS "{_escaped(each.command_path)}"', *_paragraphs(_blocks(each.command))]
        lines += _definitions([option for option in _options(each) if "--help" not in option[0]])
    lines += [".SH EXAMPLES", *_paragraphs(blocks)]
    for title, entries in (("EXIT STATUS", _EXIT_STATUS), ("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        lines += [f'.SH "{title}"', *_definitions(entries)]
    lines += [
        ".SH SEE ALSO",
        ",\n".join(f".BR {name} ({section})" for name, section in _SEE_ALSO).replace(",\n.", " ,\n."),
    ]
    return "\n".join(lines) + "\n"


def _commands(context: click.Context) -> Iterator[click.Context]:
    """Yield a context for each command below `context`, groups before what is in them, in the order of --help."""
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                inner = click.Context(command, info_name=name, parent=context)
                yield inner
                yield from _commands(inner)


def _options(context: click.Context) -> list[tuple[str, str]]:
    """Return what --help shows of each option: its flags with their values, and what it does."""
    params = context.command.get_params(context)
    records = (param.get_help_record(context) for param in params if isinstance(param, click.Option))
    return [record for record in records if record is not None]


def _usage(context: click.Context) -> str:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return f"\\fB{_escaped(context.command_path)}\\fR {_escaped(pieces)}".rstrip()


def _blocks(command: click.Command) -> list[str]:
    """Return the paragraphs of a command's help; one that begins with a backspace is set as it is (click)."""
    help_text = inspect.cleandoc(command.help or "").partition("\f")[0]
    return [block.strip("\n") for block in re.split(r"\n\s*\n", help_text) if block.strip()]


def _paragraphs(blocks: Sequence[str]) -> Iterator[str]:
    for index, block in enumerate(blocks):
        if index:
            yield ".PP"
        if block.startswith("\b"):
            yield ".nf"
            yield from (_escaped(line) for line in block.split("\n")[1:])
            yield ".fi"
        else:
            yield from _filled(block)


def _definitions(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in entries:
        yield ".TP"
        if term.startswith("-"):  # flags in bold, what stands for values in italics
            yield _FLAG.sub(lambda flag: f"\\fB{flag[1]}\\fR", plain(term)).replace("-", "\\-")
        else:
            yield f"\\fB{_escaped(term)}\\fR"
        yield from _filled(meaning)


def _filled(text: str) -> list[str]:
    return [_guarded(line) for line in textwrap.wrap(_named(text), 78, break_long_words=False, break_on_hyphens=False)]


def _escaped(text: str) -> str:
    """Return a line that groff and mandoc print as it is."""
    return _guarded(_named(text))


def _named(text: str) -> str:
    """Return a text whose signs are printed as they are, in any locale, so that commands can be copied.

    groff_man(7), "Portability": where the locale has them, plain dashes, quotes, carets and tildes become others; where
    it has none, what is not ASCII is left out.
    """
    text = plain(text).replace("\\", "\\e")
    for char, name in _NAMED:
        text = text.replace(char, name)
    return text


def _guarded(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line


@click.command(short_help="Print the manual page.")
@click.pass_context
def manual(context: click.Context) -> None:
    """Print moonfs(1) for man: moonfs manual | man -l -"""
    cli = context.find_root().command
    assert isinstance(cli, ByKind)
    click.echo(page(cli), nl=False)
