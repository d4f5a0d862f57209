"""A drive as a service of systemd: the text of its unit, and where that goes (systemd.unit(5), systemd.service(5)).

It writes text and decides on names; it runs nothing.

**Threading:** pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Final

PREFIX: Final = "moonfs-"
#: Seconds that the end may take before systemd kills: the drain of `moonfs umount`, and that of the daemon after it.
_DRAIN: Final = 80
_STOP: Final = 150


def unit_name(point: str) -> str:
    """Return the name of the unit for the drive on the absolute path `point`."""
    return f"{PREFIX}{escape_path(point)}.service"


def escape_path(path: str) -> str:
    """Return an absolute path as part of a unit's name, as `systemd-escape --path` does (systemd.unit(5))."""
    inner = "/".join(part for part in path.split("/") if part)
    if not inner:
        return "-"
    shown = []
    for index, byte in enumerate(inner.encode("utf-8", "surrogateescape")):
        char = chr(byte)
        if char == "/":
            shown.append("-")
        elif re.fullmatch(r"[a-zA-Z0-9:_.]", char) and not (char == "." and index == 0):
            shown.append(char)
        else:
            shown.append(f"\\x{byte:02x}")
    return "".join(shown)


def unit(point: str, moonfs: Sequence[str], options: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return the unit that mounts a drive at login and unmounts it at the end.

    Args:
        point: absolute path of the mount point.
        moonfs: the command, with an absolute path.
        options: of `moonfs mount`.
        environ: variables that it needs; no key is among them (X1).
    """
    lines = [
        "[Unit]",
        f"Description=moonfs drive on {_literal(_one_line(point))}",
        "Documentation=man:moonfs(1)",
        "",
        "[Service]",
        "Type=notify",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in environ.items()),
        f"ExecStartPre=-{_command([*moonfs, 'umount', '--stale', '--', point])}",
        f"ExecStart={_command([*moonfs, 'mount', '--foreground', *options, '--', point])}",
        f"ExecStop={_command([*moonfs, 'umount', '--timeout', str(_DRAIN), '--', point])}",
        f"ExecStopPost=-{_command([*moonfs, 'umount', '--stale', '--', point])}",
        # The local Files API may serve other drives too, and ends by itself.
        "KillMode=process",
        f"TimeoutStopSec={_STOP}",
        "Restart=on-failure",
        "RestartSec=5",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    return "\n".join(lines)


def _command(words: Sequence[str]) -> str:
    return " ".join([_quoted(words[0]), *(_quoted(word.replace("$", "$$")) for word in words[1:])])


def _quoted(word: str) -> str:
    """Return one word of a command line of systemd (systemd.syntax(7), systemd.service(5))."""
    word = _literal(word)
    if re.fullmatch(r"[a-zA-Z0-9%$_@=:,.+/-]+", word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda char: f"\\x{ord(char[0]):02x}", escaped) + '"'


def _one_line(path: str) -> str:
    r"""Return a path for people, on one line; with a backslash at its end the next line would belong to it."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in path)
    return quote(shown) if shown.endswith("\\") else shown


def _literal(text: str) -> str:
    """Return text without specifiers."""
    return text.replace("%", "%%")
