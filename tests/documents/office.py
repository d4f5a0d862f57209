"""Changes the parts of Office files, for what the libraries that write them cannot do."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any


def saved(document: Any) -> bytes:
    """Return what a document of python-docx, openpyxl or python-pptx saves."""
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def changed(package: bytes, parts: Mapping[str, Callable[[bytes], bytes] | bytes]) -> bytes:
    """Return the package with some parts changed, or added."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as source, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            change = parts.get(name, source.read(name))
            target.writestr(name, change if isinstance(change, bytes) else change(source.read(name)))
        for name, content in parts.items():
            if isinstance(content, bytes) and name not in source.namelist():
                target.writestr(name, content)
    return result.getvalue()
