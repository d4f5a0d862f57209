"""The man page: readers of it find nothing to complain of, and all that --help says is in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

import moonfs
from moonfs.cli import cli
from moonfs.cli.groups import KINDS, ByKind
from moonfs.cli.words import plain
from moonfs.profiles import ACCOUNT_OPTIONS, variables
from moonfs.settings import OPTIONS
from tests.harness.drive import ROOT, SECONDS
from tests.harness.programs import needs


def commands(context: click.Context) -> Iterator[click.Context]:
    """Yield a context of every command below `context`."""
    assert isinstance(context.command, click.Group)
    for name, command in context.command.commands.items():
        inner = click.Context(command, info_name=name, parent=context)
        yield inner
        if isinstance(command, click.Group):
            yield from commands(inner)


COMMANDS = list(commands(click.Context(cli, info_name="moonfs")))


@pytest.fixture(scope="module")
def source() -> str:
    """The page as `moonfs manual` prints it, of a known day."""
    return subprocess.run(
        [sys.executable, "-m", "moonfs", "manual"],
        env={"SOURCE_DATE_EPOCH": "86400"}, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=True,
    ).stdout  # fmt: skip


def run(*command: str, source: str, locale: str = "C.UTF-8") -> str:
    """Run a reader of the page, which must not complain."""
    done = subprocess.run(
        command, input=source, env={"PATH": os.environ["PATH"], "LC_ALL": locale, "MANWIDTH": "200"},
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.fixture(scope="module")
def shown(source: str) -> str:
    """The page as `moonfs manual | man -l -` shows it."""
    needs("man")
    return run("man", "--warnings", "-l", "-", source=source)


def test_mandoc_finds_no_fault(source: str) -> None:
    needs("mandoc")
    assert run("mandoc", "-T", "lint", source=source) == ""


def test_sections(shown: str) -> None:
    sections = re.findall(r"^[A-Z][A-Z ]+$", shown, re.MULTILINE)
    assert sections == (
        "NAME|SYNOPSIS|DESCRIPTION|OPTIONS|COMMANDS|EXAMPLES|EXIT STATUS|ENVIRONMENT|FILES|SEE ALSO".split("|")
    )
    assert shown.startswith("MOONFS(1)")
    assert f"moonfs {moonfs.__version__}" in shown
    assert "1970-01-02" in shown


@pytest.mark.parametrize("context", COMMANDS, ids=lambda context: context.command_path)
def test_each_command_is_there_with_all_of_its_help(shown: str, context: click.Context) -> None:
    parts = re.split(r"^   (moonfs .*)$", shown.partition("\nCOMMANDS\n")[2].partition("\nEXAMPLES\n")[0], flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    text = " ".join(sections[context.command_path].split())
    assert plain(" ".join((context.command.help or "").replace("\b", "").split())) in text
    for param in context.command.params:
        record = param.get_help_record(context) if isinstance(param, click.Option) else None
        if record is not None:
            assert plain(f"{record[0]} {record[1]}".replace("  ", " ")) in text


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_any_locale_shows_the_same(source: str, shown: str, locale: str) -> None:
    """No sign is left out or another one, not even where there is only ASCII: what is copied out of it works."""
    needs("man", "mandoc")
    assert run("man", "--warnings", "-l", "-", source=source, locale=locale) == shown
    assert shown.isascii() and "[NAME]..." in shown and "'moonfs-*'" in shown and "~/moon" in shown
    read = run("mandoc", "-T", "ascii" if locale != "C.UTF-8" else "utf8", source=source, locale=locale)
    read = re.sub(r".\x08", "", read)  # bold and italics
    assert (
        "[NAME]..." in read
        and "'moonfs-*'" in read
        and "~/moon" in read
        and "`moonfs key set`" in " ".join(read.split())
    )


def test_commands_are_in_the_order_in_which_people_need_them(shown: str) -> None:
    """The man page, --help and the Tab key: each kind with its commands; a new one is among the last."""
    commands = shown.partition("\nCOMMANDS\n")[2]
    for title, names in cli.kinds():
        assert re.search(rf"^ +{title}\s+{', '.join(str(each.name) for each in names)}\.$", commands, re.MULTILINE)
    order = cli.list_commands(click.Context(cli))
    assert re.findall(r"^   moonfs ([a-z]+)$", commands, re.MULTILINE) == order
    assert (
        order[0] == "mount"
        and order.index("doctor") < order.index("completion") + 2
        and set(order) == set(cli.commands)
    )
    told = subprocess.run(
        [sys.executable, "-m", "moonfs", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    ).stdout
    assert re.findall(r"^  ([a-z]+) {2,}\w", told, re.MULTILINE) == order
    assert [title for title, _ in KINDS] == re.findall(r"^([A-Z][a-z ]+):$", told, re.MULTILINE)[-len(KINDS) :]
    group = ByKind("moonfs", commands={"new": click.Command("new"), "mount": click.Command("mount")})
    assert group.list_commands(click.Context(group)) == ["mount", "new"]


def test_settings_are_described_once() -> None:
    """`mount --help` describes them; other commands take the same flags, and say where they are described."""
    for context in COMMANDS:
        taken = {flag for param in context.command.params for flag in param.opts}
        told = context.command.get_help(context)
        if "--listing-ttl" in taken:
            assert {option.flag for option in OPTIONS} <= taken
            assert all(option.flag in told for option in OPTIONS) is (context.info_name == "mount")
            assert ("moonfs mount --help lists them" in " ".join(told.split())) is (context.info_name != "mount")
            assert all(flag in told for flag in ("--profile", "--local", "--hosted", "--config-file", "-o "))


def test_each_variable_is_there(shown: str) -> None:
    environment = shown.partition("\nENVIRONMENT\n")[2].partition("\nFILES\n")[0]
    missing = [
        variable
        for option in (*ACCOUNT_OPTIONS, *OPTIONS)
        for variable in (*variables("api_key"), *variables(option.name))
        if re.search(rf"\b{variable}\b", environment) is None
    ]
    assert missing == []


def test_the_page_is_the_same_from_the_same_source(source: str) -> None:
    """reproducible-builds.org: what is built again from the same source has the same bytes."""
    again = subprocess.run(
        [sys.executable, "-m", "moonfs", "manual"],
        env={"SOURCE_DATE_EPOCH": "86400", "COLUMNS": "40", "TERM": "dumb", "TZ": "Asia/Shanghai", "HOME": "/nowhere"},
        cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=True,
    ).stdout  # fmt: skip
    assert again == source
