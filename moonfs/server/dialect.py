"""Which of its forms the service is answered in: what the vendor changed in September 2026, fact by fact.

A *dialect* is a whole of facts that were true of the hosted service at one time: what becomes of equal names, how a
list and a file object look, what a refusal is called. Both kinds of service exist (old accounts, proxies, regions), so
the server answers as either. `Dialect` has one field for each fact, without defaults: a fact is stated of every
dialect, or it is none. `DIALECTS` names the two that are known, by the month they were seen in:

    2026-03   published captures up to March 2026 (LIVE), where those are silent the vendor's page of that time (DOC)
    2026-09   the vendor's pages of August and September 2026 (DOC), and captures of these weeks (LIVE)

`--api` chooses one; each field is a flag as well, which goes before it. What nobody knows of either is no dialect's
matter but `behaviour`'s, and what holds of both (`&` escaped in contents, a form with a preamble) is nobody's choice.

A client chooses a second format by the header `kimi-api-version`; it is not a dialect of its own, as one service
speaks both. Of the scopes, organisation and project, an account here is one and the same.

`EMBEDDED` is how the server of `moonfs mount --local` answers. Standard library only, as the command line reads it.

**Threading:** constants and frozen values.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from moonfs import wire

#: DOC: the value of the header `kimi-api-version` that asks for the second format.
BETA: Final = wire.BETA


@dataclass(frozen=True, slots=True)
class Dialect:
    """The facts of one time.

    Attributes:
        duplicate_names: an equal filename is kept (`keep`), or numbered (`number`); names from before stay.
        number_suffix: what a numbered name gets before its extension, `{n}` being the first number that makes it free;
            its look is not documented.
        on_extract_error: a document without text is refused (`refuse`), or stored with the status `error` (`store`).
        content_refusal: the refusal of a content that there is none of: as one of the extraction (`extract-error`), or
            of type `failed_precondition_error` (`failed-precondition`).
        list_bounds: a list tells `first_id`, `last_id` and `has_more`: `show` or `omit`.
        pages: `page_size` and `page_token` of a list are answered (`answer`) or not looked at (`ignore`).
        version_header: the header `kimi-api-version` is answered, and refused where its value is unknown (`answer`), or
            not looked at (`ignore`).
        file_type: a file object has it: `show` or `omit`.
        status: of a file that is not `error`: `ok`, `ready`, or `processed`, which OpenAI's SDK waits for.
        quota_text: what refuses a file too many: the sentence with the number (`long`), or `Too many uploaded files`
            (`short`).
        request_id: an error tells it: `show` or `omit`.
        filename_field: a form field `filename` names the file (`take`) or is not looked at (`ignore`).
        id_prefix: stands before new ids.
    """

    duplicate_names: str
    number_suffix: str
    on_extract_error: str
    content_refusal: str
    list_bounds: str
    pages: str
    version_header: str
    file_type: str
    status: str
    quota_text: str
    request_id: str
    filename_field: str
    id_prefix: str


DIALECTS: Final = {
    "2026-03": Dialect(
        duplicate_names="keep",
        number_suffix="({n})",
        on_extract_error="refuse",
        content_refusal="extract-error",
        list_bounds="omit",
        pages="ignore",
        version_header="ignore",
        file_type="omit",
        status="ok",
        quota_text="long",
        request_id="omit",
        filename_field="ignore",
        id_prefix="",
    ),
    "2026-09": Dialect(
        duplicate_names="number",
        number_suffix="({n})",
        on_extract_error="store",
        content_refusal="failed-precondition",
        list_bounds="show",
        pages="answer",
        version_header="answer",
        file_type="show",
        status="ready",
        quota_text="short",
        request_id="show",
        filename_field="take",
        id_prefix="file_",
    ),
}
#: What the vendor documents today.
LATEST: Final = "2026-09"
FACTS: Final = frozenset(field.name for field in fields(Dialect))

#: What the server of `--local` is told: the latest, but that equal names stay equal, which loses no name for a moment.
EMBEDDED: Final[dict[str, Any]] = {"api": LATEST, "duplicate_names": "keep"}


def flags(values: dict[str, Any]) -> list[str]:
    """Return `values`, by the names of facts and `api`, as arguments of the command line."""
    return [word for name, value in values.items() for word in ("--" + name.replace("_", "-"), str(value))]
