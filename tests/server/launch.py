"""Start a server with other limits, or with readers that go wrong on purpose. Arguments: one JSON object.

It answers as of 2026-03 unless `behaviour` says another `api`, since most of these tests are not about that.
"""

import json
import logging
import os
import sys
from dataclasses import replace

from moonfs.server import app, protocol
from moonfs.server.behaviour import Behaviour
from moonfs.server.extraction import extractor, lanes
from moonfs.server.extraction.extractor import Extraction
from moonfs.server.extraction.registry import FORMATS, Format
from moonfs.server.serve import run

FAULTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "faults")
FAULTY = tuple(
    Format(name, f"faulty_readers:{name}", frozenset((f".{name}",)))
    for name in (
        "hang spin burn crash swallow print_much wait_for_gate environment pages dial chatter babble holder"
        " dawdle stall stall_spin stumble swallow_late unsure hasty_svg"
    ).split()
)


#: What a reader that is taken over would try, and what one that is not must be able to.
ATTACKS = tuple(Format(name, f"attacks:{name}", frozenset((f".{name}",))) for name in "attack threads".split())


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    options = json.loads(sys.argv[1])
    protocol.HEAD_SECONDS = options.get("head_seconds", protocol.HEAD_SECONDS)
    protocol.READ_SECONDS = options.get("read_seconds", protocol.READ_SECONDS)
    app.RECEIVE_SECONDS = options.get("receive_seconds", app.RECEIVE_SECONDS)
    gates = os.path.join(os.path.dirname(options["data"]), "gates")  # which readers may read
    os.makedirs(gates, exist_ok=True)
    light = {"python_path": (FAULTS, gates), **options.get("light", {})}
    ocr = {"python_path": (FAULTS, gates), **options.get("ocr", {})}
    pictures = (
        Format("ocr_gate", "faulty_readers:wait_for_gate", frozenset((".ocr_gate",)), lane="ocr"),
        Format("large_gate", "faulty_readers:large_gate", frozenset((".large_gate",)), lane="ocr"),
        Format("ocr_dawdle", "faulty_readers:ocr_dawdle", frozenset((".ocr_dawdle",)), lane="ocr"),
    )

    def make_extractor(homes: str) -> Extraction:
        return Extraction(
            homes,
            replace(extractor.LIGHT, **light),
            replace(extractor.OCR, **ocr),
            (*FORMATS, *FAULTY, *ATTACKS, *pictures),
        )

    limits = {f"max_{name}": value for name, value in options.get("limits", {}).items()}
    behaviour = Behaviour.of({"api": "2026-03", **options.get("behaviour", {}), **limits})
    lanes.WORKER = options.get("worker", lanes.WORKER)
    run(
        options["data"],
        socket_path=options["socket"],
        host=options.get("host"),
        behaviour=behaviour,
        origins=options.get("origins", ()),
        accounts=options.get("accounts", ()),
        allowed_hosts=options.get("allowed_hosts", ()),
        make_extractor=make_extractor,
    )


main()
