"""A stored file, and how it is told: as a file object or, where a client asks for the second format, as its metadata.

Key orders: of a file object LIVE (`wire`), `file_type` after it; of the rest as the vendor's page prints them (DOC).
What a dialect leaves out is left out here; which files are told, and when, is the matter of `store` and `app`.

**Threading:** frozen values and pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moonfs import wire
from moonfs.server.dialect import Dialect


@dataclass(frozen=True, slots=True)
class Record:
    """One file of an account.

    Attributes:
        file: what every format tells of it.
        file_type: media type by its bytes.
    """

    file: wire.FileObject
    file_type: str


def described(record: Record, dialect: Dialect, *, is_beta: bool) -> dict[str, Any]:
    """Return one file as JSON."""
    file = record.file
    if is_beta:
        return {
            "id": file.id,
            "filename": file.filename,
            "mime_type": record.file_type,
            "size_bytes": file.bytes,
            "created_at": datetime.fromtimestamp(file.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "purpose": file.purpose,
            "extract_status": file.status,
        }
    return file.to_wire() | ({"file_type": record.file_type} if dialect.file_type == "show" else {})


def listed(records: Sequence[Record], token: str, dialect: Dialect, *, is_beta: bool) -> dict[str, Any]:
    """Return a list, or a page of one, as JSON; `token` asks for the next page, and is empty on the last.

    The known format is not printed with a token, but needs one where there is more.
    """
    data = [described(record, dialect, is_beta=is_beta) for record in records]
    if is_beta:
        return {"items": data, "next_page_token": token}
    body: dict[str, Any] = {"object": "list", "data": data}
    if dialect.list_bounds == "show":
        first, last = (data[0]["id"], data[-1]["id"]) if data else ("", "")
        body |= {"first_id": first, "last_id": last, "has_more": bool(token)}
    return body | ({"next_page_token": token} if token else {})
