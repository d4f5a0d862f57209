"""Rich text (RTF), which many a `.doc` is; by striprtf. Cells come apart by bars, as that library writes them.

The service lists no `.rtf`, so this is read under the names of Word documents only.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

from striprtf.striprtf import rtf_to_text

from moonfs.server.extraction.document import Document, Output


def read(document: Document, output: Output) -> None:
    """Read rich text. Its bytes are ASCII; characters beyond are escaped, in the code page that it names."""
    with open(document.path, "rb") as stream:
        text: str = rtf_to_text(stream.read().decode("latin-1"), errors="replace")  # type: ignore[no-untyped-call]
    output.add(text)
