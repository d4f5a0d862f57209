"""The text layer of a PDF page, judged: is it what the page shows, and can it be mended if not?

Fonts without a map back to Unicode give the numbers of their glyphs for letters. Where these follow the usual
order of glyphs the layer is a text with every letter shifted, and shifted back here; where a font was renumbered
for the document nothing helps but OCR. It knows nothing of PDFium and draws nothing.

What a language is, is told by pairs of letters: 164 of the 676 pairs are over two thirds of any text in 28 European
languages (measured on translated messages of Debian's programs; English 0.86, Polish, the least, 0.68), and about
a quarter of a text whose letters are shifted by 29 or 31.

**Threading:** constants and pure functions.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from itertools import pairwise
from typing import Final

#: Stands for a wide gap in a row until the layer is mended and clean: a tab may be a shifted letter.
GAP: Final = "\u2003"
#: Fewer visible characters than this are no page of text: a page number.
FEW_CHARACTERS: Final = 8
#: Characters of a page that are looked at where a look is costly.
_SAMPLE: Final = 2000
#: A text has at least this share of common pairs of letters, a text that was mended has more.
_PLAUSIBLE: Final = 0.45
_GOOD: Final = 0.6
#: By how much glyph numbers are below ASCII: with the three glyphs that TrueType fonts begin with, with one, and so on.
_USUAL_SHIFTS: Final = (29, 31, 30, 28)
_SHIFTS: Final = (*_USUAL_SHIFTS, *(shift for shift in range(-40, 64) if shift and shift not in _USUAL_SHIFTS))

_PAIRS: Final = frozenset(
    (
        "ab ac ad ag ai ak al am an ap ar as at au av ba be bi bl bo bu ca ce ch ci co ct da de di do du ea ec ed eg ei"
        " ek el em en er es et fi fo ga ge gi gu ha he hi ho ia ib ic id ie if ig ik il im in io ir is it iv ja je ka"
        " ke ki ko ku la le li ll lo lt lu ma me mi mo mp na nc nd ne ng ni no ns nt nu od of og ol om on op or os ot"
        " ou ov pa pe pi pl po pr pu ra rd re ri rm ro rs rt ru sa sc se sh si sk so sp ss st su ta te th ti to tr ts"
        " tt tu ue ul um un ur us ut va ve vi vo za ze dd ff yn yr"
    ).split()
)
_WORDS: Final = re.compile("[a-z]+")
_GIBBERISH: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ue000-\uf8ff]")
#: PDFium's marks of a hyphen at the end of a line, and Unicode's, with the line's end.
_HYPHEN: Final = re.compile("[\ufffe\xad](?:\r?\n)?|\x02\r?\n")
#: What is rarely in a word, but often in a real one whose letters are shifted.
_RARE: Final = re.compile(r"[\[\\\]^_`{|}~]")
_BULLETS: Final = re.compile("[\uf0a7\uf0b7\uf0d8\uf0fc]")  # of the fonts Symbol and Wingdings, which have no Unicode
_LIGATURES: Final = re.compile("[\ufb00-\ufb06]")
#: Radicals that fonts share with the characters they are equal to, and that some programs write for them.
_RADICALS: Final = re.compile("[\u2e80-\u2fdf\uf900-\ufaff]")
_SIMPLE_RADICALS: Final = str.maketrans(
    dict(
        zip(
            "⺠⻁⻄⻅⻆⻉⻋⻓⻔⻘⻙⻚⻛⻜⻝⻢⻣⻤⻥⻦⻧⻨⻩⻪⻬⻮⻰⻳",
            "民虎西见角贝车长门青韦页风飞食马骨鬼鱼鸟卤麦黄黾齐齿龙龟",
            strict=True,
        )
    )
)


def clean(raw: str) -> str:
    r"""Return real text without PDFium's marks: no `\r`, no hyphens at line ends, no glyphs that stand for letters."""
    text = _HYPHEN.sub("", raw).replace("\r", "")
    text = _GIBBERISH.sub("", _BULLETS.sub("•", text))
    text = _LIGATURES.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    text = _RADICALS.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    return text.translate(_SIMPLE_RADICALS).replace(GAP, "\t")


def visible(text: str) -> int:
    """Return the number of characters that leave a mark."""
    return sum(not character.isspace() for character in text)


def is_garbage(raw: str) -> bool:
    """Say whether these are codes that stand for no character at all."""
    dark = len(_GIBBERISH.findall(_BULLETS.sub("•", _HYPHEN.sub("", raw))))
    return dark > 0.2 * max(visible(_GIBBERISH.sub("", raw)) + dark, 1)


def is_odd(text: str) -> bool:
    """Say whether this is likely no language: letters that do not go together, rare characters, a mix of scripts.

    Codes, part numbers and base64 may be called odd as well; who asks compares with what the page shows.
    """
    common, pairs = _pairs(text)
    if pairs >= 8 and common < pairs * (_PLAUSIBLE if pairs >= 30 else 0.2):
        return True
    if _is_renumbered(text):
        return True
    other = [character for character in text if character > "\u017f" and character.isalpha()][:_SAMPLE]
    if len(other) < 20:
        return False
    han = [character for character in other if "\u3400" <= character <= "\u9fff"]
    if len(han) >= 20 and sum(map(_is_frequent, han)) < len(han) * 0.7:
        return True
    scripts = Counter(unicodedata.name(character, "?").split()[0] for character in other).most_common()
    return len(scripts) > 5 and scripts[0][1] + scripts[1][1] < len(other) * 0.6


def find_shift(raw: str) -> int:
    """Return by how much the letters of a layer are too low, or 0 when no shift makes it a text."""
    sample = _shifted_lines(raw)[:_SAMPLE]
    if not sample:
        return 0
    common, pairs = _pairs(sample)
    before = common / max(pairs, 1)
    best, best_share = 0, 0.0
    for shift in _SHIFTS:
        common, pairs = _pairs(_shift(sample, shift))
        enough = 6 if shift in _USUAL_SHIFTS else 40
        share = common / max(pairs, 1) - (0.15 if pairs < 15 else 0.0)  # a few letters are soon a word
        if pairs >= enough and share > best_share and abs(shift) != 32:  # 32 is but the other case
            best, best_share = shift, share
        if shift == _USUAL_SHIFTS[-1] and best_share >= _GOOD:
            break
    return best if best_share >= max(_GOOD, before + 0.25) else 0


def unshift(raw: str, shift: int) -> str:
    """Return the layer with the letters of those lines put right that are shifted; other fonts may stand beside."""
    return "\r\n".join(_shift(line, shift) if _is_shifted(line, shift) else line for line in raw.split("\r\n"))


def is_like(shown: str, layer: str) -> bool:
    """Say whether what OCR saw is, by and large, what the layer says."""
    seen, said = _grams(shown), _grams(layer)
    return sum((seen & said).values()) > 0.4 * sum(seen.values())


def add_unsaid(layer: str, shown: str) -> str:
    """Return the layer and after it those lines of what OCR saw that it does not say."""
    said = _grams(layer)
    unsaid = []
    for line in shown.split("\n"):
        seen = _grams(line)
        if sum((seen & said).values()) <= 0.6 * sum(seen.values()):
            unsaid.append(line)
    return "\n".join((*filter(None, (layer.rstrip("\n"),)), *unsaid))


def _is_renumbered(text: str) -> bool:
    """Say whether each new character is the next one of Unicode: the glyphs of a font, numbered as they came up."""
    new = [ord(character) for character in dict.fromkeys(text[: 4 * _SAMPLE]) if not character.isspace()]
    next_ones = sum(other == one + 1 for one, other in pairwise(new))
    return len(new) >= 12 and next_ones > len(new) * 0.4


def _grams(text: str) -> Counter[str]:
    text = "".join(text.lower().split())
    return Counter(text[at : at + 2] for at in range(len(text) - 1)) or Counter(text)


def _pairs(text: str) -> tuple[int, int]:
    """Return how many pairs of Latin letters are common ones, and how many there are."""
    common = pairs = 0
    for word in _WORDS.findall(text[: 4 * _SAMPLE].lower()):
        pairs += len(word) - 1
        common += sum(word[at : at + 2] in _PAIRS for at in range(len(word) - 1))
    return common, pairs


def _shifted_lines(raw: str) -> str:
    """Return those lines that may be shifted ones: a page may have fonts of both kinds."""
    lines = []
    for line in raw.split("\r\n"):
        common, pairs = _pairs(line)
        if _GIBBERISH.search(_HYPHEN.sub("", line)) or (pairs >= 6 and common < pairs * 0.4):
            lines.append(line)
    return "\r\n".join(lines)


def _is_shifted(line: str, shift: int) -> bool:
    if _GIBBERISH.search(line):
        return True
    common, pairs = _pairs(line)
    if pairs >= 6:
        back, back_pairs = _pairs(_shift(line, shift))
        return back * pairs > common * max(back_pairs, 1)
    if any("b" <= character <= "z" for character in line):
        return False  # they would stand for none
    mended = _shift(line, shift).strip()
    return len(mended) > 2 and sum(map(str.islower, mended)) * 2 > len(mended) and not _RARE.search(mended)


def _shift(line: str, shift: int) -> str:
    return "".join(_shifted(character, shift) for character in line)


def _shifted(character: str, shift: int) -> str:
    code = ord(character) + shift
    if character == " ":  # PDFium's own, between words that stand apart
        return character
    if 32 <= code < 127:
        return chr(code)
    if shift == _USUAL_SHIFTS[0] and 127 <= code < 255:  # after ASCII such fonts go on as Mac Roman does
        return bytes((code + 1,)).decode("mac_roman")
    return character


def _is_frequent(character: str) -> bool:
    """Say whether a Han character is on the first level of a national standard: those that people use."""
    for encoding, first, last in (("gb2312", 0xB0, 0xD7), ("big5", 0xA4, 0xC6), ("euc_jp", 0xB0, 0xCF)):
        try:
            code = character.encode(encoding)
        except UnicodeEncodeError:
            continue
        if len(code) == 2 and first <= code[0] <= last:
            return True
    return False
