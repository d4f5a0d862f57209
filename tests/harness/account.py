"""The account from outside of the drive: what the service really has, and the uploads of somebody else."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

import httpx

from tests.faults.kinds import YESTERDAY, Kind


class Account:
    """A client of the Files API that shares nothing with the drive's; a context manager.

    It asks in the format that the `kind` of service wants, and returns file objects as the known one has them.
    """

    def __init__(self, base_url: str, key: str, socket: str | None = None, kind: Kind = YESTERDAY) -> None:
        self.kind = kind
        self.base_url = base_url
        self.key = key
        self._http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}", **kind.headers},
            transport=httpx.HTTPTransport(uds=socket, verify=False),  # plain HTTP; a trust store takes 20 ms to load
            timeout=60,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def files(self) -> list[dict[str, Any]]:
        """Return every file object, of all pages."""
        found, token = [], ""
        while True:
            body = self._ok(self._http.get("/files", params={"page_token": token} if token else {})).json()
            found += [_known(file) for file in body["items" if self.kind.beta else "data"]]
            token = body.get("next_page_token", "")
            if not token:
                return found

    def named(self, name: str) -> list[dict[str, Any]]:
        """Return the file objects of this name, newest first."""
        found = [file for file in self.files() if file["filename"] == name]
        return sorted(found, key=lambda file: (file["created_at"], file["id"]), reverse=True)

    def only(self, name: str) -> dict[str, Any]:
        """Return the file object of this name, of which there must be exactly one."""
        (file,) = self.named(name)
        return file

    def upload(self, name: str, data: bytes, purpose: str = "file-extract") -> dict[str, Any]:
        """Upload as somebody else does."""
        answer = self._http.post("/files", files={"file": (name, data)}, data={"purpose": purpose})
        return _known(self._ok(answer).json())

    def delete(self, file_id: str) -> None:
        """Delete as somebody else does."""
        self._ok(self._http.delete(f"/files/{file_id}"))

    def content(self, file_id: str) -> bytes:
        """Return the body of `/content`, byte for byte."""
        return self._ok(self._http.get(f"/files/{file_id}/content")).content

    @staticmethod
    def _ok(answer: httpx.Response) -> httpx.Response:
        assert answer.status_code in (200, 201, 204), answer.text
        return answer


def _known(file: dict[str, Any]) -> dict[str, Any]:
    """Return a file object in the known format."""
    if "size_bytes" not in file:
        return file
    made = int(datetime.fromisoformat(file["created_at"]).timestamp())
    return file | {"bytes": file["size_bytes"], "status": file["extract_status"], "created_at": made}
