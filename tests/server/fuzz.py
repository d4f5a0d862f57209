"""Damage to documents of every format, as disks, networks and malice do it: each must be read or refused, in time.

A damaged document is answered 200, with what could be read of it, or 400; never 500, and never later than its reader's
deadline. `python -m tests.server.fuzz --minutes 10` goes on for so long, with a seed that it prints; what fails is left
in a directory, to be uploaded again. `test_fuzz` runs a few hundred of them.

**Threading:** as many documents at once as there are threads in `run`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import re
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from moonfs.server.extraction import extractor
from moonfs.server.extraction.archive import DAMAGED
from tests.documents.every import EVERY
from tests.server.conftest import Server, started

#: Formats that only OCR reads, which take a second each.
PICTURES = frozenset(".png .apng .jpg .jpeg .jfif .pjp .pjpeg .gif .webp .bmp .dib .ico .xbm .tif .tiff .avif".split())
#: One each of those that differ in the name alone.
FORMATS = sorted(
    set(EVERY) - set(".jfif .pjp .pjpeg .jpeg .tif .cc .cxx .cpp .h .cs .js .ts .tsx .jsp .asp .yml".split())
)
#: Seconds that are added to the deadline of a reader: the queue, and a machine under load.
PATIENCE = 120.0

Damage = Callable[[random.Random, bytes], bytes]


def hole(chance: random.Random, content: bytes) -> bytes:
    """Overwrite a stretch with zeros, as a bad block does, or with ones or noise."""
    size = min(len(content), chance.choice((1, 16, 200, 200, 512, 4096)))
    start = chance.randrange(len(content) - size + 1)
    filling = chance.choice((bytes(size), b"\xff" * size, chance.randbytes(size)))
    return content[:start] + filling + content[start + size :]


def flips(chance: random.Random, content: bytes) -> bytes:
    """Flip some bits."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 3, 10, 100))):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def cut(chance: random.Random, content: bytes) -> bytes:
    """Cut it short, at the end or at the beginning."""
    at = chance.randrange(1, len(content)) if len(content) > 1 else 1
    return content[:at] if chance.random() < 0.8 else content[at:]


def twice(chance: random.Random, content: bytes) -> bytes:
    """Repeat a stretch, a few times or many."""
    start = chance.randrange(len(content))
    end = min(len(content), start + chance.choice((1, 8, 64, 1024)))
    return content[:end] + content[start:end] * chance.choice((1, 2, 50, 2000)) + content[end:]


def swapped(chance: random.Random, content: bytes) -> bytes:
    """Put a stretch in the place of another, or leave it out."""
    size = chance.choice((4, 64, 512))
    one, other = chance.randrange(len(content)), chance.randrange(len(content))
    stretch = content[one : one + size] if chance.random() < 0.7 else b""
    return content[:other] + stretch + content[other + size :]


def numbers(chance: random.Random, content: bytes) -> bytes:
    """Overwrite two or four bytes with a number at the edge of what they can hold."""
    width = chance.choice(("<H", ">H", "<I", ">I"))
    most = (1 << 8 * struct.calcsize(width)) - 1
    number = struct.pack(width, chance.choice((0, 1, most, most - 1, most // 2, most // 2 + 1, len(content) & most)))
    at = chance.randrange(max(1, min(len(content), chance.choice((64, 1024, len(content))))))
    return content[:at] + number + content[at + len(number) :]


def digits(chance: random.Random, content: bytes) -> bytes:
    """Replace a number that is written out by one that nobody expects."""
    found = list(re.finditer(rb"\d+", content[:200_000]))
    if not found:
        return flips(chance, content)
    place = chance.choice(found)
    odd = chance.choice((b"0", b"-1", b"9" * 20, b"9" * 5000, b"9" * 100_000, b"1e999", b"NaN", b"", b"2147483648"))
    return content[: place.start()] + odd + content[place.end() :]


def references(chance: random.Random, content: bytes) -> bytes:
    """Replace what is named in quotes by another name that is there: parts that name themselves, or one another."""
    found = list(re.finditer(rb'(?<==")[^"<>]{1,200}(?=")', content[:200_000]))
    if len(found) < 2:
        return twice(chance, content)
    place, other = chance.choice(found), chance.choice(found)
    return content[: place.start()] + other[0] + content[place.end() :]


DAMAGES: tuple[Damage, ...] = (hole, flips, cut, twice, swapped, numbers, digits, references)


def in_a_member(chance: random.Random, content: bytes) -> bytes:
    """Damage members of a zip file, packed anew, so that the damage gets to who reads them; or have two of a name."""
    made = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
            members = {name: source.read(name) for name in source.namelist()}
            for name in chance.sample(sorted(members), min(len(members), chance.choice((1, 1, 2, 5)))):
                how = chance.random()
                if how < 0.1:
                    members[name] = members[chance.choice(sorted(members))]
                elif how < 0.2:
                    del members[name]
                else:
                    members[name] = chance.choice(DAMAGES)(chance, members[name] or b"\0")
            for name, member in members.items():
                target.writestr(name, member)
            for name in chance.sample(sorted(members), min(len(members), chance.choice((0, 0, 1, 3)))):
                with contextlib.suppress(UserWarning):
                    target.writestr(name, members[chance.choice(sorted(members))])
    except DAMAGED:
        return flips(chance, content)
    return made.getvalue()


@dataclass
class Findings:
    """What came of it: answers by format and status, and those that were wrong."""

    seed: int
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    slowest_name: str = ""

    def __str__(self) -> str:
        total = sum(self.answers.values())
        by_status: Counter[int] = Counter()
        for (_, status), count in self.answers.items():
            by_status[status] += count
        shown = ", ".join(f"{count} x {status}" for status, count in sorted(by_status.items()))
        lines = [
            f"{total} damaged documents of {len({name for name, _ in self.answers})} formats, seed {self.seed}: {shown}"
        ]
        lines.append(f"slowest: {self.slowest:.1f} s ({self.slowest_name})")
        return "\n".join((*lines, *self.wrong))


def damaged(seed: int, formats: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) without end, the same for the same seed."""
    chance = random.Random(seed)
    whole = {extension: EVERY[extension][0]() for extension in formats}
    while True:
        for extension in formats:
            if extension in PICTURES and len(formats) > len(PICTURES) and chance.random() > 0.15:
                continue  # all the others would wait for them
            content = whole[extension]
            kinds = (*DAMAGES, in_a_member, in_a_member, in_a_member) if content[:2] == b"PK" else DAMAGES
            for _ in range(chance.choice((1, 1, 1, 2))):
                kind = chance.choice(kinds)
                content = kind(chance, content or b"\0")
            if content:
                yield f"{kind.__name__}-{chance.randrange(1 << 32):08x}{extension}", content


def run(server: Server, seed: int, *, seconds: float = 1e9, count: int = 1 << 62, formats: list[str] | None = None,
        keep: Path | None = None, threads: int = 3) -> Findings:  # fmt: skip
    """Upload damaged documents until the time or the number is reached.

    Args:
        server: a server of this project.
        seed: of the damages.
        seconds, count: when to stop.
        formats: extensions; all by default.
        keep: where documents with a wrong answer are left.
        threads: documents at once.
    """
    findings = Findings(seed)
    deadline = time.monotonic() + seconds
    longest = extractor.LIGHT.seconds + 60 + extractor.OCR.seconds + PATIENCE

    def upload(document: tuple[str, bytes]) -> None:
        name, content = document
        if time.monotonic() > deadline:
            return
        began = time.monotonic()
        answer = server.client.post(
            "/files", files={"file": (name, content)}, data={"purpose": "file-extract"}, timeout=longest
        )
        took = time.monotonic() - began
        findings.answers[os.path.splitext(name)[1], answer.status_code] += 1
        if took > findings.slowest:
            findings.slowest, findings.slowest_name = took, name
        if answer.status_code == 200:
            server.client.delete(f"/files/{answer.json()['id']}")
        elif answer.status_code != 400:
            findings.wrong.append(f"{answer.status_code} {name}: {answer.text[:200]}")
            if keep is not None:
                (keep / name).write_bytes(content)

    documents = damaged(seed, formats or FORMATS)
    with ThreadPoolExecutor(threads) as pool:
        done = 0
        while done < count and time.monotonic() < deadline:
            batch = [next(documents) for _ in range(min(4 * threads, count - done))]
            list(pool.map(upload, batch))
            done += len(batch)
    return findings


def main(minutes: float = 10.0, seed: int | None = None) -> int:
    """Run for so many minutes against a server of its own, print what came of it, and return an exit code."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="moonfs-fuzz-"))
    keep = folder / "wrong"
    keep.mkdir()
    with started(folder / "data") as server:
        findings = run(server, seed, seconds=minutes * 60, keep=keep)
    print(findings)
    if findings.wrong:
        print(f"The documents are in {keep}, the server's log is {folder / 'server.log'}.")
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Damage documents of every format, and look how they are answered.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    sys.exit(main(arguments.minutes, arguments.seed))
