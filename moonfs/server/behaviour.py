"""How the server answers: the switches of `moonfs serve`, and what follows from them.

Three kinds: the facts of a `dialect`, of which `--api` gives a whole; what nobody outside knows of the hosted service,
where the defaults are what is most likely; and how busy and how large it pretends to be. A program that is to work
against the hosted service can be tried against each answer: there is a flag for each line of `SWITCHES`. Standard
library only, as the command line reads it.

**Threading:** constants and frozen values.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Final

from moonfs import wire
from moonfs.server.dialect import DIALECTS, FACTS, LATEST, Dialect

#: What may stand before an id, so that `wire.is_valid_id` holds.
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
#: `{n}` once, and what may stand in a name.
_SUFFIX: Final = re.compile(r"[^{}/\\]*\{n\}[^{}/\\]*")
_LONGEST_SUFFIX: Final = 32
_CONTENT_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+(\s*;\s*[\w-]+=[\w.-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one account may hold: files, bytes of one file, bytes in all."""

    files: int = wire.MAX_FILES
    file_bytes: int = wire.MAX_FILE_BYTES
    total_bytes: int = wire.MAX_TOTAL_BYTES


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the server answers.

    Attributes:
        dialect: the facts that changed with time.
        page_size: files on a page of a list for which no size is asked; 0 for all of them.
        list_order: `newest` first, `oldest` first, or `random` anew for each list.
        strict_purpose: an upload without a purpose is refused.
        content_type: of the content of a text.
        media_content: the content of an image or a video is a refusal (`refuse`), no text (`empty`), or the file
            itself (`original`).
        quota_status: HTTP status when all files together are too large.
        not_found_text: message for an id that is not there.
        delete_again: deleting what is gone is a 404 (`refuse`) or succeeds (`ok`).
        http_extras: contents have an ETag, and may be asked for with HEAD and in ranges.
        filename_rules: names are kept as sent (`keep`), cut to their last part (`base`), or refused when they hold a
            slash or a control character or are longer than 255 bytes (`refuse`).
        rate_limit: requests a minute for each account; 0 for no limit.
        rate_limit_counts: all requests count, or only `uploads`.
        max_concurrency: requests of an account under way at once; 0 for no limit.
        latency: milliseconds that each request waits first.
        upload_latency: milliseconds more for an upload.
        limits: of an account.
    """

    dialect: Dialect = DIALECTS[LATEST]
    page_size: int = 0
    list_order: str = "newest"
    strict_purpose: bool = False
    content_type: str = "text/plain; charset=utf-8"
    media_content: str = "refuse"
    quota_status: int = 400
    not_found_text: str = wire.MSG_NOT_FOUND
    delete_again: str = "refuse"
    http_extras: bool = False
    filename_rules: str = "keep"
    rate_limit: int = 0
    rate_limit_counts: str = "all"
    max_concurrency: int = 0
    latency: float = 0.0
    upload_latency: float = 0.0
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        """Check what the table below cannot say. Raises ValueError, with a sentence for a person."""
        prefix, suffix = self.dialect.id_prefix, self.dialect.number_suffix
        if prefix and not _PREFIX.fullmatch(prefix):
            raise ValueError(
                f"--id-prefix {prefix!r} is no prefix: letters, digits, '.', '_' and '-', 32 at most, "
                "beginning with a letter or a digit"
            )
        if not _SUFFIX.fullmatch(suffix) or not suffix.isprintable() or len(suffix) > _LONGEST_SUFFIX:
            raise ValueError(
                f"--number-suffix {suffix!r} is no suffix of a name: {{n}} once, such as '({{n}})', no slashes, "
                f"{_LONGEST_SUFFIX} characters at most"
            )
        if self.page_size and self.dialect.pages == "ignore":
            raise ValueError("--page-size needs --pages answer: else nobody could ask for the next page")
        if not _CONTENT_TYPE.fullmatch(self.content_type):
            raise ValueError(f"--content-type {self.content_type!r} is no media type, such as application/json")
        for flag, wait in (("--latency", self.latency), ("--upload-latency", self.upload_latency)):
            if not 0 <= wait < math.inf:  # NaN is neither
                raise ValueError(f"{flag} {wait} is no number of milliseconds")
        if not self.not_found_text.isprintable():
            raise ValueError("--not-found-text holds a character that cannot be printed")

    @classmethod
    def of(cls, values: dict[str, Any]) -> Behaviour:
        """Return the behaviour that flags ask for: `values` by the names of `SWITCHES`; what is None was not given.

        Raises ValueError, with a sentence for a person.
        """
        values = {name: value for name, value in values.items() if value is not None}
        dialect = DIALECTS[values.pop("api", LATEST)]
        facts = {name: values.pop(name) for name in list(values) if name in FACTS}
        limits = {name.removeprefix("max_"): values.pop(name) for name in list(values) if name in _LIMITS}
        return cls(replace(dialect, **facts), **values, limits=Limits(**limits))


@dataclass(frozen=True, slots=True)
class Switch:
    """One flag of `moonfs serve`.

    Attributes:
        name: of the attribute, or `max_` and the name of the limit; the flag has `-` for `_`.
        kind: its values: a tuple of words, `bool` for a flag without a value, or `int`, `float`, `str`.
        help: one sentence.
        metavar: what stands for the value in the help.
        low, high: bounds of a number.
    """

    name: str
    kind: Any
    help: str
    metavar: str = ""
    low: float = 0
    high: float = 10**15

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def default(self) -> Any:
        """What holds when it is not given; None where `--api` says."""
        if self.name in FACTS:
            return None
        if self.name == "api":
            return LATEST
        limit = self.name.removeprefix("max_")
        return getattr(Limits(), limit) if self.name in _LIMITS else getattr(_DEFAULT, self.name)


_LIMITS: Final = frozenset(("max_files", "max_file_bytes", "max_total_bytes"))
_DEFAULT: Final = Behaviour()

#: The switches, by what they are about. Of a fact's words the first is that of 2026-03, the second that of 2026-09.
GROUPS: Final = {
    "What changed in September 2026 (the first word: before it, the second: since)": (
        Switch("api", tuple(DIALECTS), "Which word holds for all that are not given."),
        Switch("duplicate_names", ("keep", "number"), "What becomes of an equal name."),
        Switch("number_suffix", str, "What a numbered name gets before its extension: '({n})'.", "TEXT"),
        Switch("on_extract_error", ("refuse", "store"), "What becomes of a document without text."),
        Switch(
            "content_refusal",
            ("extract-error", "failed-precondition"),
            "How the content of a file that has none is refused.",
        ),
        Switch("list_bounds", ("omit", "show"), "first_id, last_id and has_more in a list."),
        Switch("pages", ("ignore", "answer"), "page_size and page_token in the request for a list."),
        Switch("version_header", ("ignore", "answer"), "The header kimi-api-version, and its format."),
        Switch("file_type", ("omit", "show"), "file_type in a file object."),
        Switch("status", ("ok", "ready", "processed"), "Status of a file that is no error."),
        Switch("quota_text", ("long", "short"), "The refusal of a file too many."),
        Switch("request_id", ("omit", "show"), "request_id in an error."),
        Switch("filename_field", ("ignore", "take"), "A form field filename, which names the file."),
        Switch("id_prefix", str, "Stands before new ids: '' in 2026-03, file_ in 2026-09.", "PREFIX"),
    ),
    "What nobody outside knows": (
        Switch("list_order", ("newest", "oldest", "random"), "Order of a list."),
        Switch("page_size", int, "Files on a page, where no size is asked for; 0 for all.", "N", 0, 1000),
        Switch("strict_purpose", bool, "Refuse an upload without a purpose."),
        Switch("content_type", str, "Content-Type of a content.", "TYPE"),
        Switch("media_content", ("refuse", "empty", "original"), "The content of an image or a video."),
        Switch("quota_status", int, "HTTP status when all files together are too large.", "CODE", 400, 499),
        Switch("not_found_text", str, "Message for an id that is not there.", "TEXT"),
        Switch("delete_again", ("refuse", "ok"), "What deleting a deleted file does."),
        Switch("http_extras", bool, "Answer HEAD, Range and If-None-Match on contents."),
        Switch(
            "filename_rules", ("keep", "base", "refuse"), "What becomes of slashes and control characters in names."
        ),
    ),
    "How busy, far and large it is": (
        Switch("rate_limit", int, "Requests a minute for each account; 0 for no limit.", "RPM", 0, 100_000),
        Switch("rate_limit_counts", ("all", "uploads"), "Which requests count towards it."),
        Switch("max_concurrency", int, "Requests of an account at once; 0 for no limit.", "N", 0, 100_000),
        Switch("latency", float, "Milliseconds that each request waits first.", "MS", 0, 60_000),
        Switch("upload_latency", float, "Milliseconds more for an upload.", "MS", 0, 60_000),
        Switch("max_files", int, "Files of an account.", "N", 1),
        Switch("max_file_bytes", int, "Bytes of one file.", "N", 1),
        Switch("max_total_bytes", int, "Bytes of all files.", "N", 1),
    ),
}
SWITCHES: Final = tuple(switch for group in GROUPS.values() for switch in group)
