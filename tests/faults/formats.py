"""What a faulty service stores, and how it is told: in the known format and in the second one, whole and in pages.

What it is not: the drive's or the local server's idea of either; it is written by the documentation alone.

**Threading:** pure functions; a `Stored` belongs to its server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.faults.kinds import Kind

#: Whose files a list without the header shows, and one with it (fact 3).
ORGANISATION, PROJECT = "organisation", "project"
#: A file of this scope is on no list, and no request of ours finds it; its name is taken all the same.
NOBODY = "nobody"


@dataclass
class Stored:
    """A file that the server holds; `scope` says who sees it."""

    id: str
    created_at: int
    filename: str
    purpose: str
    data: bytes
    status: str = "ok"
    status_details: str = ""
    scope: str = PROJECT

    def to_wire(self) -> dict[str, Any]:
        """Return it in the known format."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.data),
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": self.status,
            "status_details": self.status_details,
        }

    def to_metadata(self) -> dict[str, Any]:
        """Return it in the second format."""
        return {
            "id": self.id,
            "filename": self.filename,
            "mime_type": "text/plain",
            "size_bytes": len(self.data),
            "created_at": datetime.fromtimestamp(self.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "purpose": self.purpose,
            "extract_status": self.status,
        }

    def is_seen(self, *, beta: bool) -> bool:
        """Say whether a request in this format finds it."""
        return self.scope == PROJECT or (self.scope == ORGANISATION and not beta)


def described(stored: Stored, kind: Kind, *, beta: bool) -> dict[str, Any]:
    """Return a file as it is told."""
    if beta:
        return stored.to_metadata()
    return stored.to_wire() | ({"file_type": "text/plain"} if kind.stores_failures else {})


def page_of(
    files: Sequence[Stored], place: Callable[[Stored], int], query: Mapping[str, str], largest: int
) -> tuple[list[Stored], str]:
    """Return the files on a page, newest first, and the token of the next one; it is empty on the last.

    Args:
        files: all of them.
        place: the place of each in the order of arrival, which stays when others go.
        query: `page_size` and `page_token`, where they were sent.
        largest: files on a page, at most, whatever was asked for.

    Raises:
        ValueError: what was asked for is no page.
    """
    size = int(query.get("page_size", largest))
    if not 1 <= size <= 1000:
        raise ValueError(size)
    token = query.get("page_token", "")
    left = [stored for stored in sorted(files, key=place, reverse=True) if not token or place(stored) < int(token)]
    size = min(size, largest)
    return left[:size], str(place(left[size - 1])) if len(left) > size else ""


def listed(files: Sequence[Stored], token: str, kind: Kind, *, beta: bool) -> dict[str, Any]:
    """Return a list, or a page of one."""
    told = [described(stored, kind, beta=beta) for stored in files]
    if beta:
        return {"items": told, "next_page_token": token}
    body: dict[str, Any] = {"object": "list", "data": told}
    if kind.pages:
        first, last = (told[0]["id"], told[-1]["id"]) if told else ("", "")
        body |= {"first_id": first, "last_id": last, "has_more": bool(token)}
    return body | ({"next_page_token": token} if token else {})
