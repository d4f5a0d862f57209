"""The direction of imports: a module imports only from the lines below its own, and each library has its one place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import moonfs

PACKAGE = Path(moonfs.__file__).parent

#: The house, from the roof to the ground. A module imports from the lines below its own only.
LAYERS = """
    cli
    mount  doctor
    locks  prerequisites
    ending
    operations  mountpoints
    daemons  holders
    filesystem
    closes
    overview  control  ahead
    renames  removals
    versions  overlay
    flights  shown  lingering  awaiting
    temporaries  adoption
    promises  recovery
    reserves
    disowned  conflicts
    proofs
    writeback  remote  room
    namespace  handles
    localfile  table
    doubts
    api
    numbering
    spool  journal  attributes  originals  contents  listing  errorlog  readahead  prefetch
    places
    advice
    texts  names  spellings  workers  traffic  groupcommit  dispatch  lookups  announcer
    openers  mounts
    pace  breaker
    keys
    profiles  service  notify  logfile  packages
    config  settings
    refusals
    errors  wire  wording  disk
"""

#: What may be imported all the same, and why.
ALLOWED = {
    ("cli", "server"): "`moonfs serve` starts the local Files API",
    ("cli", "server.behaviour"): "its flags are those of `moonfs serve`",
    ("cli", "server.cors"): "what it takes for an origin is said before it starts",
    ("mount", "server.embed"): "`moonfs mount --local` attaches to the local Files API",
}

#: Where a library may be imported.
HOMES = {
    "httpx": {"api"},
    "httpcore": {"api"},
    "cachetools": {"contents", "listing"},
    "fuse": {"operations", "dispatch"},
    "click": {"cli"},
    "rich": {"cli", "mount"},
    "starlette": {"server"},
    "uvicorn": {"server"},
    "anyio": {"server"},
    "h11": {"server"},
    "charset_normalizer": {"server"},
    "lxml": {"server"},
    "keyring": {"keys"},
    "olefile": {"server"},
    "openpyxl": {"server"},
    "striprtf": {"server"},
    "xlrd": {"server"},
    "pptx": {"server"},
    "python_calamine": {"server"},
    "pypdfium2": {"server"},
    "PIL": {"server"},
    "pillow_heif": {"server"},
    "rapidocr": {"server"},
    "resvg_py": {"server"},
    "onnxruntime": {"server"},
    "numpy": {"server"},
}

_LEVEL = {
    module: level for level, line in enumerate(reversed(LAYERS.split("\n"))) for module in line.split() if line.strip()
}
_SOURCES = sorted(PACKAGE.rglob("*.py"))


def _room(source: Path) -> str:
    """Return the module of the table that `source` belongs to: `api/client.py` is `api`."""
    return source.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(source: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, those inside of functions too."""
    package = ("moonfs", *source.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], node.module or ""] if node.level else [])
            module = base.rstrip(".") or node.module or ""
            yield node.lineno, module
            # `from moonfs import names` imports a module, `from moonfs.names import safe` a function of one.
            yield from (
                (node.lineno, f"{module}.{alias.name}") for alias in node.names if _is_module(module, alias.name)
            )


def _is_module(package: str, name: str) -> bool:
    if package.partition(".")[0] != "moonfs":
        return False
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()


def _inner(source: Path) -> set[tuple[int, str]]:
    """Return (line, module inside of moonfs) of what `source` imports from the other rooms of the house."""
    found = set()
    for line, name in _imports(source):
        head, _, rest = name.partition(".")
        if head == "moonfs" and rest and rest.partition(".")[0] != _room(source):
            found.add((line, rest))
    return found


def _named(sources: list[Path]) -> list[object]:
    return [pytest.param(source, id=str(source.relative_to(PACKAGE))) for source in sources]


def test_every_module_has_its_place() -> None:
    """STYLE: a module that is not in the table is not in the house; nor is one in the table that does not exist."""
    rooms = {_room(source) for source in _SOURCES} - {"__init__", "__main__", "server"}
    assert rooms == set(_LEVEL)


@pytest.mark.parametrize("source", _named([s for s in _SOURCES if _room(s) in _LEVEL]))
def test_imports_point_downward(source: Path) -> None:
    """STYLE: a module imports only from lines below its own; siblings do not import each other."""
    room = _room(source)
    wrong = [
        f"line {line}: {room} imports {name}"
        for line, name in sorted(_inner(source))
        if not any((room, name[:end]) in ALLOWED for end in _prefixes(name))
        and _LEVEL.get(name.partition(".")[0], 99) >= _LEVEL[room]
    ]
    assert not wrong


def _prefixes(name: str) -> list[int]:
    return [*(index for index, char in enumerate(name) if char == "."), len(name)]


@pytest.mark.parametrize("source", _named([s for s in _SOURCES if _room(s) == "server"]))
def test_the_local_server_shares_only_the_ground(source: Path) -> None:
    """STYLE: `server/` is deletable in one move, and means the same bytes as the client."""
    assert {name.partition(".")[0] for _, name in _inner(source)} <= {"wire", "disk"}


@pytest.mark.parametrize("source", _named([s for s in _SOURCES if _room(s) == "__main__"]))
def test_python_m_moonfs_is_the_command_line(source: Path) -> None:
    """`python -m moonfs` is the command line and nothing else."""
    assert {name.partition(".")[0] for _, name in _inner(source)} == {"cli"}


def test_the_ground_floor_is_the_standard_library() -> None:
    """STYLE: errors, wire and config are leaves: standard library only."""
    for room in ("errors", "wire", "disk", "config", "settings", "profiles", "packages"):
        foreign = {name.partition(".")[0] for _, name in _imports(PACKAGE / f"{room}.py")} - sys.stdlib_module_names
        assert foreign <= {"moonfs"}, room


@pytest.mark.parametrize("source", _named(_SOURCES))
def test_each_library_stays_at_home(source: Path) -> None:
    """STYLE: httpx only in `api`, cachetools only in the caches, fusepy only at the kernel's door."""
    used = {name.partition(".")[0] for _, name in _imports(source)}
    assert not [name for name in used if name in HOMES and _room(source) not in HOMES[name]]


@pytest.mark.parametrize("source", _named(_SOURCES))
def test_every_foreign_library_has_a_home(source: Path) -> None:
    """A new dependency enters through this table, so that its place is chosen."""
    used = {name.partition(".")[0] for _, name in _imports(source)}
    assert used - sys.stdlib_module_names - {"moonfs"} <= set(HOMES)


def test_the_reader_of_imports_sees_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of the tests: plain, from, relative and function-level imports are all seen."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "names.py").touch()
    source = tmp_path / "listing.py"
    source.write_text(
        "import httpx.mock\nfrom moonfs import names\nfrom moonfs.api.client import Client\nfrom . import names as n\n"
        "def f():\n    from moonfs.mount import run\n    import moonfs.cli\n"
    )
    assert {name for _, name in _imports(source)} >= {
        "httpx.mock",
        "moonfs.names",
        "moonfs.api.client",
        "moonfs.mount",
        "moonfs.cli",
    }
    assert {name for _, name in _inner(source)} == {"names", "api.client", "mount", "cli"}
