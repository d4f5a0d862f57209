"""The server can be deleted in one move: of the rest of moonfs it knows `wire` and `disk` only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SERVER = ROOT / "moonfs" / "server"
#: What it may know of the rest of moonfs.
SHARED = ("moonfs", "moonfs.disk", "moonfs.wire")
#: What a mount of the hosted service may import, without the extra.
WITHOUT_EXTRA = ("address", "marker", "embed", "command", "behaviour", "dialect", "cors", "xid")


#: The floor plan of `moonfs.server`, from the roof down.
FLOORS = (
    {"__main__"}, {"command"}, {"serve"}, {"app"}, {"throttle"}, {"edge", "upload", "delivery", "latency", "protocol"},
    {"multipart", "cors"}, {"extraction"}, {"accounts"}, {"store"}, {"records"}, {"staged", "directory"}, {"embed"},
    {"behaviour", "openapi"}, {"dialect"}, {"marker"}, {"address", "xid", "refusal", "media"},
)  # fmt: skip


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_only_the_ground_floor_is_shared():
    modules = list(SERVER.rglob("*.py"))
    assert len(modules) > 20
    for module in modules:
        ours = {name for name in imported(module) if name.split(".")[0] == "moonfs"}
        allowed = tuple(name for name in ours if name.startswith("moonfs.server.") or name in SHARED)
        assert ours == set(allowed), module


def test_the_clients_side_needs_the_standard_library_only():
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
before = set(sys.modules)
for name in {WITHOUT_EXTRA!r}:
    __import__("moonfs.server." + name)
roots = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(sorted(roots - sys.stdlib_module_names - {{"moonfs"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_server_itself_loads_no_reader():
    code = """
import sys, moonfs.server.serve
heavy = {"PIL", "lxml", "openpyxl", "pptx", "pypdfium2", "rapidocr", "onnxruntime", "numpy", "cv2"}
print(sorted(heavy & set(sys.modules)))
"""
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"


def test_a_module_imports_from_lower_floors_only():
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    for module in SERVER.rglob("*.py"):
        own = module.relative_to(SERVER).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        below = {name.split(".")[2] for name in imported(module) if name.startswith("moonfs.server.")} - {own}
        for name in below & set(floor):
            assert floor[name] > floor[own], f"{module} imports {name}"
