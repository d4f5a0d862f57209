"""The lines that mend a configuration, a key, an address, a way to the service: each where it was said, or found.

Of flags over environment over config.toml the first counts, so that a line for another place would mend nothing.

**Threading:** called by one thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Final
from urllib.parse import urlsplit

from moonfs import keys, profiles
from moonfs.api import proxies
from moonfs.api.origin import is_loopback
from moonfs.config import DEFAULT_BASE_URL, Directories
from moonfs.doctor.findings import ME
from moonfs.errors import UsageError
from moonfs.profiles import Configuration, variables

#: Seconds for a look whether there is a way to a service at all.
_SECONDS: Final = 5.0


def edit(path: Path | str) -> str:
    """Return the line that opens a file of settings."""
    return f'"${{EDITOR:-nano}}" {quote(str(path))}'


def profile(configuration: Configuration) -> str:
    """Return the flag for the profile that was chosen, with a space before it, or nothing."""
    return f" -p {quote(configuration.profile)}" if configuration.profile else ""


def settings(problem: str, environ: Mapping[str, str], directories: Directories, file: str) -> str:
    """Return the line for what makes `profiles.resolve` or `Configuration.settings` fail; empty where a flag does.

    Args:
        problem: what they have raised, in a sentence.
        environ: the environment.
        directories: where config.toml is by default.
        file: the one that a flag names; empty for none.
    """

    def works(environ: Mapping[str, str], file: str) -> bool:
        try:
            profiles.resolve({}, environ, directories, file=file).settings()
        except UsageError:
            return False
        return True

    named = file or environ.get("MOONFS_CONFIG", "").strip()
    path = Path(os.path.abspath(os.path.expanduser(named))) if named else directories.config / "config.toml"
    if works({}, str(path)) or not (named or os.path.lexists(path)):
        for name in environ:
            if name.startswith("MOONFS_") and not works({name: environ[name]}, str(path) if named else ""):
                return f"unset {name}"
        return ""
    if not os.path.lexists(path):
        folder = quote(str(path.parent))
        return f"mkdir -p -m 700 {folder}; moonfs config --example > {quote(str(path))}"
    return _open_file(path, shared=0o077 if "chmod" in problem else 0) or edit(path)


def _open_file(path: Path, *, shared: int) -> str:
    """Return the line that makes a file one's own and closes it; empty where it is so.

    Args:
        path: the file.
        shared: the permissions that nobody else may have.
    """
    quoted = quote(str(path))
    with contextlib.suppress(OSError):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return f"mv {quoted} {quoted}.old"
        if status.st_uid not in (os.geteuid(), 0):
            return f"sudo chown {ME} {quoted}; chmod 600 {quoted}"
        if status.st_mode & shared or not os.access(path, os.R_OK):
            mine = status.st_uid == os.geteuid()
            return f"chmod 600 {quoted}" if mine else f"sudo chown {ME} {quoted}; chmod 600 {quoted}"
    return ""


def key(configuration: Configuration, directories: Directories) -> str:
    """Return the line for a key that cannot be had."""
    source = configuration.key_source()
    if source is None:
        usual = keys.usual_file(configuration, directories)
        anew = f"moonfs key set{profile(configuration)}"
        if os.path.isdir(usual):
            return f"mv {quote(str(usual))} {quote(str(usual))}.old; {anew}"
        if os.path.exists(usual):
            return _open_file(usual, shared=0o077) or anew
        return f"{anew}  # or: moonfs mount --local DIR"
    kind, value = source
    if kind == "api_key_file":
        path = Path(os.path.expanduser(value.text))
        return _open_file(path, shared=0o077) or _paste(path)
    return another_key(configuration, directories)


def another_key(configuration: Configuration, directories: Directories) -> str:
    """Return the line that puts another key in the place of the one that counts."""
    anew = f"moonfs key set{profile(configuration)}"
    source = configuration.key_source()
    if source is None:
        return f"{anew}  # with a new key"
    kind, value = source
    names = [name for name in variables("api_key") if os.environ.get(name, "").strip()]
    if kind == "api_key" and value.origin in names:
        return f"unset {' '.join(names)}; {anew}  # with a new key"
    if kind == "api_key_file":
        return _paste(Path(os.path.expanduser(value.text)))
    if kind == "api_key_keyring":
        return f"{anew} --keyring  # with a new key"
    if kind.upper() in value.origin:
        return f"unset {value.origin}; {anew}  # with a new key"
    return edit(configuration.file) if not value.origin.startswith("-") else ""


def _paste(path: Path) -> str:
    return f"install -m 600 /dev/stdin {quote(str(path))}  # paste a new key, then Enter and Ctrl-D"


def base_url(configuration: Configuration, other: str) -> str:
    """Return the line that has another address used from now on."""
    value = configuration.values.get("base_url")
    if value is not None and value.origin.startswith(str(configuration.file)):
        return f'{edit(configuration.file)}  # base_url = "{other}"'
    return f'export MOONSHOT_BASE_URL={quote(other)}  # or base_url = "{other}" in config.toml'


def address(configuration: Configuration, said: str) -> tuple[str, str]:
    """Return what to say of an address where no Files API is, and the line for it.

    Args:
        configuration: says where the address comes from.
        said: what came of it, in a sentence.
    """
    value = configuration.values.get("base_url")
    if value is None:
        return f"{said}; a proxy or another program answers in the service's place", ""
    if value.origin.startswith("-"):
        return f"{said}; {value.origin} says which address it is", ""
    found = f"{said}; the address is from {value.origin}"
    if value.origin in variables("base_url"):
        names = [name for name in variables("base_url") if os.environ.get(name, "").strip()]
        return found, f"unset {' '.join(names)}  # then it is {DEFAULT_BASE_URL}"
    return found, edit(configuration.file)


def scope(configuration: Configuration) -> str:
    """Return the line for a scope that the service does not know; empty where a flag has said it."""
    origin = configuration.values["scope"].origin
    if origin.startswith("-"):
        return ""
    return f"unset {origin}" if origin in variables("scope") else edit(configuration.file)


def way(configuration: Configuration, said: str) -> tuple[str, str]:
    """Return what to say of a service that does not answer, and the line for it.

    It connects to the service's address and to nothing else, and sends nothing.
    """
    url = urlsplit(configuration.base_url())
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    if "certificate" in said:
        if os.environ.get("SSL_CERT_FILE"):
            return said, "unset SSL_CERT_FILE"
        bundle = "/etc/ssl/certs/ca-certificates.crt"
        return said, f"export SSL_CERT_FILE={bundle}  # sudo update-ca-certificates adds a proxy's to it"
    names = [name for name in os.environ if name.lower() in (f"{url.scheme}_proxy", "all_proxy")]
    proxied = not is_loopback(host) and proxies.find(configuration.base_url()).proxy is not None
    try:
        socket.create_connection((host, port), _SECONDS).close()
    except OSError:
        if proxied:
            return said, ""
        if configuration.values.get("base_url") is not None:
            return address(configuration, said)
        return f"{said}; this machine cannot reach that address now; connect it to a network that can", ""
    if proxied:
        return f"{said}; past the proxy there is a way to {host}", f"unset {' '.join(names)}"
    return f"{said}; a connection is taken there, so it is slow or overloaded", "sleep 60; moonfs doctor"


def clock(offset: float) -> str:
    """Return the line that sets the clock; `offset` is the service's minus ours, in seconds."""
    if shutil.which("timedatectl") and os.path.isdir("/run/systemd/system"):
        return "sudo timedatectl set-ntp true"
    return f'sudo date -s "@$(($(date +%s) + {round(offset)}))"'
