"""Texts on a real mount: kept on disk across mounts, read ahead in order, shown plain on request (R1, R2, R3, A2)."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from tests.conftest import Faulty, Pair
from tests.faults.server import Fault, FaultServer, Reply, answered, rate_limited
from tests.harness.drive import Drive, wait_until
from tests.harness.gate import Gate

pytestmark = pytest.mark.fuse

NAMES = [f"{number:03}.txt" for number in range(100)]


def fill(service: FaultServer, names: list[str], size: int = 50) -> None:
    for name in names:
        service.add(name, name.encode() * (size // len(name)))


def sidecar(drive: Drive, name: str) -> bytes:
    return (drive / f"{name}.content").read_bytes()


def kept(drive: Drive) -> list[Path]:
    """Return the files of the store of texts."""
    return sorted(drive.home.glob("cache/moonfs/accounts/*/texts*/*"))


@pytest.mark.parametrize("how", ["unmounted", "killed"])
@pytest.mark.parametrize("size", [50, 200_000], ids=["small", "large"])
def test_texts_survive_the_mount(faulty: Callable[..., Faulty], service: FaultServer, how: str, size: int) -> None:
    """R2, A2: after a remount no text is asked for again, and every size is exact before anything is opened."""
    fill(service, NAMES[:5], size)
    drive = faulty().drive
    texts = {name: sidecar(drive, name) for name in NAMES[:5]}
    drive.umount() if how == "unmounted" else drive.kill()
    drive.mount()
    asked = service.count("content")
    assert {name: os.stat(drive / f"{name}.content").st_size for name in texts} == {
        name: len(text) for name, text in texts.items()
    }
    assert {name: sidecar(drive, name) for name in texts} == texts
    assert service.count("content") == asked == 5
    assert drive.status()["caches"]["content"]["disk_hits"] == 5


def test_a_length_is_remembered_longer_than_its_text(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """A2: once known, a length is remembered across mounts, though the bounded store has let the text go."""
    fill(service, NAMES[:10], 50_000)
    drive = faulty("text_cache=200K", "content_cache=0").drive
    sizes = {name: len(sidecar(drive, name)) for name in NAMES[:10]}
    drive.remount("text_cache=200K", "content_cache=0")
    assert sum(path.stat().st_size for path in kept(drive)) <= 200 * 1024
    assert {name: os.stat(drive / f"{name}.content").st_size for name in sizes} == sizes
    assert service.count("content") == 10


@pytest.mark.parametrize("damage", ["cut", "spoilt", "removed"])
def test_a_damaged_text_is_fetched_again(faulty: Callable[..., Faulty], service: FaultServer, damage: str) -> None:
    """R2, tenet 3: bytes that the disk has spoilt are never shown; nobody notices but by a request."""
    fill(service, NAMES[:1], 50_000)
    drive = faulty().drive
    text = sidecar(drive, NAMES[0])
    drive.umount()
    (path,) = kept(drive)
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(text[:-1] if damage == "cut" else b"X" + text[1:])
    drive.mount()
    assert sidecar(drive, NAMES[0]) == text and service.count("content") == 2


def test_what_is_kept_is_private(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """X2: cache 0700/0600."""
    fill(service, NAMES[:1])
    drive = faulty().drive
    sidecar(drive, NAMES[0])
    (path,) = kept(drive)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_text_of_a_file_deleted_elsewhere_is_dropped(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L4, R2: with the next listing its name is gone, and so is the copy of its text here."""
    fill(service, NAMES[:2])
    drive = faulty("listing_ttl=0").drive
    for name in NAMES[:2]:
        sidecar(drive, name)
    gone = next(file.id for file in service.files.values() if file.filename == NAMES[0])
    with service.lock:
        del service.files[gone]
    left = [NAMES[1], f"{NAMES[1]}.content"]
    wait_until(lambda: os.listdir(drive.point) == left and len(kept(drive)) == 1, "the text is dropped")
    assert gone not in kept(drive)[0].name


def test_the_text_of_a_file_deleted_while_unmounted_is_dropped(
    faulty: Callable[..., Faulty], service: FaultServer
) -> None:
    """R2: whenever it was deleted."""
    fill(service, NAMES[:2])
    drive = faulty("listing_ttl=0").drive
    for name in NAMES[:2]:
        sidecar(drive, name)
    drive.umount()
    with service.lock:
        del service.files[next(file.id for file in service.files.values() if file.filename == NAMES[0])]
    drive.mount("listing_ttl=0")
    wait_until(lambda: os.listdir(drive.point) and len(kept(drive)) == 1, "the text is dropped")


@pytest.mark.parametrize("answer", [b'{"data":[{"id":"x","bytes":"12"}]}', b'{"data":[]}', b'{"data":[1,2]}'])
def test_an_answer_that_lacks_files_by_mistake_costs_no_text(
    faulty: Callable[..., Faulty], service: FaultServer, answer: bytes
) -> None:
    """R6, A2: neither a text nor a length is lost, and no text is asked for again."""
    fill(service, NAMES[:3], 50_000)
    drive = faulty("listing_ttl=0").drive
    texts = {name: sidecar(drive, name) for name in NAMES[:3]}
    service.script("list", answered(Reply(200, answer)))
    os.listdir(drive.point)
    drive.run('sleep 5.5; ls "$DIR"')
    assert {name: os.stat(drive / f"{name}.content").st_size for name in texts} == {n: len(b) for n, b in texts.items()}
    assert {name: sidecar(drive, name) for name in texts} == texts and service.count("content") == 3


def test_an_open_text_outlives_its_file(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R2: whoever has it open reads it to the end."""
    fill(service, NAMES[:1], 400_000)
    drive = faulty("listing_ttl=0").drive
    with open(drive / f"{NAMES[0]}.content", "rb", buffering=0) as text:
        start = text.read(10)
        service.files.clear()
        wait_until(lambda: os.listdir(drive.point) == [] and not kept(drive), "the text is dropped")
        drive.run("head -c 200000000 /dev/zero | tail -c 1 > /dev/null")
        rest = text.read()
    assert len(start + (rest or b"")) > 400_000


def test_reading_in_order_reads_ahead(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R3: the second text in order brings the next two, the third four; each is asked for once."""
    fill(service, NAMES)
    drive = faulty().drive
    sidecar(drive, NAMES[0])
    assert service.count("content") == 1
    for step, reached in enumerate((4, 7, 12), start=1):
        sidecar(drive, NAMES[step])
        wait_until(lambda reached=reached: service.count("content") == reached, f"{reached} texts are asked for")
    assert drive.run('cat -- "$DIR"/*.content | wc -l') and service.count("content") == len(NAMES)


@pytest.mark.parametrize(
    "script",
    [
        'cat -- "$DIR"/*.content',
        'grep -r --include="*.content" moonlight "$DIR" || true',
        'find "$DIR" -name "*.content" -exec cat {} +',
        'for each in "$DIR"/*.content; do cat -- "$each"; done',
        'tar cf /dev/null -C "$DIR" --exclude="*.txt" . ; wc -c "$DIR"/*.content',
    ],
    ids=["cat", "grep -r", "find", "a loop", "wc"],
)
def test_tools_read_ahead(faulty: Callable[..., Faulty], service: FaultServer, script: str) -> None:
    """R3: whatever the tool, many texts are on their way at once, and none is asked for twice."""
    fill(service, NAMES)
    at_once, most = 0, 0
    lock = threading.Lock()

    def count(turn: object) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.02)
        with lock:
            at_once -= 1
        turn.send(turn.serve())  # type: ignore[attr-defined]

    service.script("content", *[count] * len(NAMES))  # type: ignore[list-item]
    drive = faulty().drive
    drive.run(script)
    assert service.count("content") == len(NAMES) and most >= 4


@pytest.mark.parametrize(
    "script",
    [
        'ls -lR "$DIR"; stat "$DIR"/*; file "$DIR"/000.txt; du -a "$DIR"; find "$DIR" -size +1k',
        'for each in 050 020 090 010; do cat "$DIR/$each.txt.content"; done',
        'for each in 090 089 088 087; do cat "$DIR/$each.txt.content"; done',
    ],
    ids=["looking", "no order", "backwards"],
)
def test_nothing_else_prefetches(faulty: Callable[..., Faulty], service: FaultServer, script: str) -> None:
    """R3, tenet 4: looking costs nothing, and who reads a few texts gets a few."""
    fill(service, NAMES)
    drive = faulty().drive
    drive.run(script)
    drive.run('sleep 0.2; cat "$DIR/000.txt.content"')
    assert service.count("content") == script.count("for") * 4 + 1


def all_but(service: FaultServer, names: Collection[str], fault: Fault) -> None:
    """Let every request for a text but those of `names` meet `fault`, whichever comes first."""
    spared = {f"/v1/files/{file.id}/content" for file in service.files.values() if file.filename in names}
    service.script(
        "content", *[lambda turn: turn.send(turn.serve()) if turn.seen.path in spared else fault(turn)] * 200
    )


def test_a_reader_goes_before_the_read_ahead(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R3: with every request of the read-ahead stuck, somebody else's text comes all the same."""
    fill(service, [*NAMES, "z.md"])
    gate = Gate()
    all_but(service, (*NAMES[:2], "z.md"), gate.before)
    drive = faulty("timeout=20").drive
    for name in NAMES[:2]:
        sidecar(drive, name)
    gate.wait()
    assert b"z.md" in sidecar(drive, "z.md")
    gate.opened.set()


def test_it_stops_at_a_429(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R3: the read-ahead ends at a 429 and sends nothing more for it."""
    fill(service, NAMES)
    all_but(service, NAMES[:2], rate_limited())
    drive = faulty().drive
    for name in NAMES[:2]:
        sidecar(drive, name)
    wait_until(lambda: service.count("content") > 2, "it is refused")
    drive.run("sleep 0.5")
    assert service.count("content") in (3, 4)
    service.unscript("content")
    assert sidecar(drive, NAMES[2])


PLAIN = [
    (b'{"content":"Mond \\u6708\\n","file_type":"text/plain","filename":"a.txt"}', "Mond 月\n".encode()),
    (b'{"content":"R\\u0026D \\u003cb\\u003e \\\\u0026","type":"file"}', b"R&D <b> \\u0026"),
    (b'{"content":"","file_type":"text/plain"}', b""),
    (b'{"id":1}\n{"id":2}\n', b'{"id":1}\n{"id":2}\n'),
    (b'{"content":7}', b'{"content":7}'),
    (b'["content"]', b'["content"]'),
    (b"\xff\xfe no JSON", b"\xff\xfe no JSON"),
]


@pytest.mark.parametrize(("body", "text"), PLAIN, ids=["text", "signs", "empty", "JSONL", "number", "list", "bytes"])
def test_the_text_alone(faulty: Callable[..., Faulty], service: FaultServer, body: bytes, text: bytes) -> None:
    """R1: `content=text` unwraps the content field; what has none stays as it is. Sizes are exact, then and later."""
    service.add("a.txt", b"whatever")
    service.script("content", *[answered(Reply(200, body))] * 6)
    drive = faulty("content=text").drive
    assert drive.run('head -c 1 "$DIR/a.txt.content" | wc -c').strip() == str(min(len(text), 1))
    assert sidecar(drive, "a.txt") == text
    assert os.stat(drive / "a.txt.content").st_size == len(text)
    drive.remount("content=text")
    assert os.stat(drive / "a.txt.content").st_size == len(text)
    # What has none is believed when it comes twice, and not kept (R2): it was opened three times.
    assert sidecar(drive, "a.txt") == text and service.count("content") == (1 if text != body else 6)


@pytest.mark.parametrize("size", [1, 400_000], ids=["short", "long"])
def test_signs_that_the_service_escapes(fresh: Callable[..., Pair], size: int) -> None:
    """R1: `&`, `<` and `>` are escapes in the body, which `grep` does not find, and themselves in the text alone."""
    pair = fresh()
    drive, text = pair.drive, "R&D <b>福</b> \\u0026\n" * size
    (drive / "a.txt").write_bytes(text[:4_000_000].encode())
    body = sidecar(drive, "a.txt")
    assert body == pair.account.content(pair.account.only("a.txt")["id"])
    assert b"R\\u0026D \\u003cb\\u003e" in body and b"R&D" not in body
    assert drive.shell('grep -q "R&D" "$DIR/a.txt.content"').returncode == 1
    drive.remount("content=text")
    assert sidecar(drive, "a.txt") == text[:4_000_000].encode()
    assert drive.run('grep -c "R&D <b>" "$DIR/a.txt.content"').strip() == str(text[:4_000_000].count("R&D <b>"))


def test_both_ways_of_showing_a_text_are_kept_apart(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R1, A2: a drive that shows the bodies knows nothing of the lengths of texts alone, nor the other way round."""
    service.add("a.txt", b"whatever")
    drive = faulty().drive
    body = sidecar(drive, "a.txt")
    drive.remount("content=text")
    assert os.stat(drive / "a.txt.content").st_size == 1
    text = sidecar(drive, "a.txt")
    assert text.decode() == json.loads(body)["content"]
    drive.remount()
    assert os.stat(drive / "a.txt.content").st_size == len(body)
    assert sidecar(drive, "a.txt") == body and service.count("content") == 2
