"""A worker within all its walls, but without the engine of OCR, which takes a second of CPU to load.

For what is shown of lanes and not of letters: it says of a picture how large it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

from PIL.Image import Image

from moonfs.server.extraction import worker


class Recogniser:
    """As that of `ocr`, which it stands in for."""

    def text(self, picture: Image, pay: Callable[[int], None] = lambda _pixels: None) -> str:
        """Return the size of the picture."""
        pay(picture.width * picture.height)
        return f"a picture of {picture.width} x {picture.height}"


stand_in = ModuleType("moonfs.server.extraction.ocr")
stand_in.__dict__["Recogniser"] = Recogniser
sys.modules[stand_in.__name__] = stand_in
worker.main()
