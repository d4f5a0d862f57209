"""From an upload to its text: chooses a format, asks a lane, turns the verdict into text or a refusal.

Short plain text is decoded right here, as decoding UTF-8 is no risk; everything else is read in a worker. It
stores nothing: long text is left in the store's `incoming/` for the commit.

**Threading:** runs in the event loop; files are touched in threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Final

from moonfs import wire
from moonfs.server import refusal
from moonfs.server.extraction.document import Why
from moonfs.server.extraction.examination import describe, examine_soon
from moonfs.server.extraction.lanes import Lane, LaneSettings, TookTooLong, WorkerFailed
from moonfs.server.extraction.priming import prime
from moonfs.server.extraction.registry import FORMATS, VERSION, Format, by_bytes, choose, extension_of, is_taken
from moonfs.server.extraction.rescue import rescue
from moonfs.server.extraction.singleflight import SingleFlight
from moonfs.server.media import TEXT, media_type
from moonfs.server.staged import Extracted, Staged, remove
from moonfs.server.store import INLINE_BYTES, Store

_GIB: Final = 1024**3
LIGHT: Final = LaneSettings(
    workers=max(2, os.cpu_count() or 1),
    memory_bytes=2 * _GIB,
    seconds=60,
    cpu_seconds=60,
    idle_seconds=120,
    resident_bytes=_GIB // 4,
)
#: One OCR at a time of what is large: it uses several threads, and 3 GiB at worst.
OCR: Final = LaneSettings(
    workers=1,
    memory_bytes=3 * _GIB,
    seconds=300,
    cpu_seconds=600,
    idle_seconds=120,
    resident_bytes=_GIB,
    nice=10,
    with_ocr=True,
)
#: A second one, for what is small, so that no long scan stands before a picture of a screen.
_SMALL_OCR_SECONDS: Final = 60
#: Readers whose text of UTF-8 bytes is those bytes.
_VERBATIM: Final = frozenset(("text", "json"))

_log = logging.getLogger(__name__)


class Extraction:
    """Extraction by workers; to be made inside the event loop.

    Args:
        homes: a directory for the homes of the workers.
        light, ocr: the two kinds of workers; plain text has its own, of the light kind, and small pictures those of the
            other.
        formats: the registry.
    """

    def __init__(
        self,
        homes: str,
        light: LaneSettings = LIGHT,
        ocr: LaneSettings = OCR,
        formats: Sequence[Format] = FORMATS,
    ) -> None:
        self._formats = formats
        # Plain text has workers of its own, so that no slow document stands before it.
        small = replace(ocr, seconds=min(_SMALL_OCR_SECONDS, ocr.seconds), is_small=True)
        kinds = {"text": light, "light": light, "small ocr": small, "ocr": ocr}
        self._lanes = {name: Lane(name, homes, settings) for name, settings in kinds.items()}
        self._flights: SingleFlight[str] = SingleFlight()
        self._closed = False
        self._preparation = asyncio.ensure_future(_prepare(homes))

    def state(self) -> dict[str, Any]:
        """Return what each kind of workers does, by its name."""
        return {name: lane.state() for name, lane in self._lanes.items()}

    async def extract(self, store: Store, staged: Staged, filename: str) -> Extracted:
        """Return the text of an upload: known to `store`, or left in its `incoming/` if it is long. Raises Refusal."""
        extension, kind = extension_of(filename), media_type(staged.head)
        entry = choose(extension, kind, self._formats) if extension else by_bytes(kind, self._formats)
        if not is_taken(extension, self._formats) and (extension or entry is None):
            raise refusal.unsupported()
        if entry is None:
            _log.info("no text in a %s of %d bytes: it is no %s", kind, staged.size, extension)
            raise refusal.no_text(f"it is no {extension[1:]} file")
        reader = f"{entry.name}{extension}/{VERSION}"
        short = _short_text(entry, staged)
        if short is not None:
            return Extracted(kind, short, reader)
        known = await asyncio.to_thread(store.known_text, staged.sha256, reader)
        if known is not None:
            return known
        await asyncio.to_thread(staged.flush)
        target = store.incoming()
        try:
            await self._flights.run(
                (id(store), staged.sha256, reader),
                target,
                lambda: self._read(entry, staged, extension, target, id(store)),
            )
        except BaseException:
            await asyncio.to_thread(remove, target)
            raise
        return Extracted(
            kind if not entry.is_text or kind in entry.media_types else _type_of_text(kind), target, reader
        )

    async def close(self) -> None:
        """Kill all workers; extractions under way are refused."""
        self._closed = True
        self._preparation.cancel()
        await asyncio.gather(
            *(lane.close() for lane in self._lanes.values()), asyncio.wait((self._preparation,)), return_exceptions=True
        )

    async def _read(self, entry: Format, staged: Staged, extension: str, target: str, account: Hashable) -> str:
        job: dict[str, Any] = {"path": staged.path, "extension": extension, "target": target, "reader": entry.reader}
        began = time.monotonic()
        lane = self._for_pictures() if entry.lane == "ocr" else entry.lane
        try:
            while True:
                answer = await self._ask(lane, job, account)
                if answer["verdict"] != "needs ocr" or lane == "ocr":
                    break
                await asyncio.to_thread(remove, target)
                lane = "ocr" if lane == "small ocr" else self._for_pictures()
        except WorkerFailed as error:
            if self._closed:
                raise refusal.stopping() from error
            answer = {"verdict": "failed", "why": str(error)}
        verdict, why = answer["verdict"], answer.get("why", "")
        _log.info(
            "%s: %s of %d bytes in %.1f s (%s)%s", *(verdict, entry.name, staged.size, time.monotonic() - began, lane),
            f": {why} {answer.get('detail', '')}".rstrip() if why else "",
        )  # fmt: skip
        if verdict == "failed":
            raise refusal.extraction_failed(why)
        if verdict != "text":
            raise refusal.no_text(why)
        return entry.name

    def _for_pictures(self) -> str:
        """Return the workers to try first: those for what is small, unless they are busy and the others are not."""
        is_better = self._lanes["small ocr"].is_busy() and not self._lanes["ocr"].is_busy()
        return "ocr" if is_better else "small ocr"

    async def _ask(self, lane: str, job: dict[str, Any], account: Hashable) -> dict[str, Any]:
        """Return the verdict of a worker; of one that took too long, what it has read by then. Raises WorkerFailed."""
        try:
            return await self._lanes[lane].run(job, account)
        except TookTooLong as error:
            if lane == "small ocr" and not error.by_cpu:
                return {"verdict": "needs ocr"}
            found = await asyncio.to_thread(rescue, job["target"], "reading it took too long")
            return {"verdict": "text" if found else "no text", "why": Why.LATE}


class NoExtraction:
    """Stores every file as if its text were its UTF-8 bytes: for benchmarks of the store, without workers.

    Args:
        homes: not needed.
    """

    def __init__(self, homes: str) -> None:
        pass

    async def extract(self, store: Store, staged: Staged, filename: str) -> Extracted:
        """Return the bytes as text; a long file keeps its first bytes only."""
        whole = staged.whole()
        text = (staged.head if whole is None else whole).decode("utf-8", "replace")
        return Extracted(TEXT, wire.dump(text))

    def state(self) -> dict[str, Any]:
        """There are no workers."""
        return {}

    async def close(self) -> None:
        """There is nothing to end."""


async def _prepare(homes: str) -> None:
    """Say in the log how this machine confines readers, and see to what they cannot do themselves."""
    lacking = await examine_soon(homes)
    _log.log(logging.WARNING if lacking else logging.INFO, "Readers of documents are %s", describe(lacking))
    await prime(homes)


def _short_text(entry: Format, staged: Staged) -> bytes | None:
    if entry.name not in _VERBATIM or staged.size > INLINE_BYTES:
        return None
    whole = staged.whole()
    if whole is None or b"\0" in whole or (entry.name == "json" and b"\\u" in whole):
        return None
    try:
        text = whole.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if not text or text.isspace():
        raise refusal.no_text()
    return wire.dump(text)


def _type_of_text(kind: str) -> str:
    return kind if kind.startswith(("text/", "image/svg")) else TEXT
