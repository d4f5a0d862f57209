"""Plain text, code and JSON: decoded, and otherwise left exactly as it is.

The encodings tried: a byte order mark, UTF-8, GB18030, then what charset-normalizer finds.

**Threading:** pure functions, in a worker.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from charset_normalizer import from_bytes

from moonfs.server.extraction.document import Document, NoText, Output

_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: How much charset-normalizer looks at, in bytes.
_SAMPLE: Final = 256 * 1024
_CONTROLS: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_ESCAPES: Final = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[0-9a-fA-F]{4})+)")


def read(document: Document, output: Output) -> None:
    """Read text of any encoding."""
    with open(document.path, "rb") as stream:
        output.whole(decode(stream.read()))


def read_json(document: Document, output: Output) -> None:
    r"""Read JSON as text, with `\uXXXX` as the character it stands for where that is printable."""
    with open(document.path, "rb") as stream:
        output.whole(_ESCAPES.sub(_unescape, decode(stream.read())))


def decode(raw: bytes) -> str:
    """Return the text of `raw`. Raises NoText for bytes that are no text in any encoding."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw.decode(encoding, "replace")
    wide = _wide_encoding(raw)
    if wide:
        return _without_controls(raw.decode(wide, "replace"))
    if b"\0" in raw:
        raise NoText
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        text = raw.decode("gb18030")
        if _is_plausible_chinese(text):
            return _without_controls(text)
    except UnicodeDecodeError:
        pass
    matches = from_bytes(raw[:_SAMPLE])
    best = matches.best()
    if best is None:
        raise NoText
    # Short Western text fits several code pages equally well; one of them is common.
    best = next((match for match in matches if match.encoding == "cp1252" and match.chaos <= best.chaos), best)
    return _without_controls(raw.decode(best.encoding, "replace"))


def _without_controls(text: str) -> str:
    """Return `text` unless it is binary data read as text. Raises NoText."""
    if _CONTROLS.search(text[:_SAMPLE]):
        raise NoText
    return text


def _wide_encoding(raw: bytes) -> str | None:
    """Tell UTF-16 without a mark by its NULs, which stand on one side only."""
    sample = raw[: 4096 & ~1]
    if not sample or b"\0" not in sample:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > half * 0.3 and even == 0:
        return "utf-16-le"
    if even > half * 0.3 and odd == 0:
        return "utf-16-be"
    return None


def _is_plausible_chinese(text: str) -> bool:
    """Say whether text decoded as GB18030 looks meant: almost any bytes decode, but to characters nobody uses.

    Those in use are the 7,445 of GB 2312; a French é and the letter after it make one that is not among them. Much kana
    tells Japanese in a like encoding.
    """
    other = [character for character in text[:_SAMPLE] if character > "\x7f"]
    used = sum(_is_in_use(character) for character in other)
    kana = sum("\u3040" <= character <= "\u30ff" for character in other)
    return used >= len(other) * 0.8 and kana <= len(other) * 0.1


def _is_in_use(character: str) -> bool:
    try:
        return bool(character.encode("gb2312"))
    except UnicodeEncodeError:
        return False


def _unescape(found: re.Match[str]) -> str:
    units = [int(unit, 16) for unit in found[2].split("\\u")[1:]]
    text = b"".join(unit.to_bytes(2, "big") for unit in units).decode("utf-16-be", "surrogatepass")
    return found[1] + "".join(c if c.isprintable() and c > "\x7f" else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
