"""What the server can be asked, as an OpenAPI 3.1 document: for tools that read one, and for the test that tries all.

It describes the five calls of the service as `moonfs.wire` knows them, and the three that are ours.

**Threading:** pure functions.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import moonfs
from moonfs import wire

_ID: Final = {"name": "file_id", "in": "path", "required": True, "schema": {"type": "string"}}
_OPEN: Final[list[Any]] = []


@functools.cache
def document() -> bytes:
    """Return the document, as JSON."""
    file, error = _reference("File"), _answer("A refusal", _reference("Error"))
    refusals = {"400": error, "401": error, "404": error, "429": error}
    return wire.dump(
        {
            "openapi": "3.1.0",
            "info": {"title": "The Files API of Moonshot, served by moonfs", "version": moonfs.__version__},
            "servers": [{"url": "/"}],
            "security": [{"key": []}],
            "paths": {
                "/v1/files": {
                    "get": _call("List all files", {"200": _answer("All files", _LIST), **refusals}),
                    "post": {
                        **_call("Upload a file", {"200": _answer("The file", file), "500": error, **refusals}),
                        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}},
                    },
                },
                "/v1/files/{file_id}": {
                    "parameters": [_ID],
                    "get": _call("Describe a file", {"200": _answer("The file", file), **refusals}),
                    "delete": _call("Delete a file", {"200": _answer("It is gone", _DELETED), **refusals}),
                },
                "/v1/files/{file_id}/content": {
                    "parameters": [_ID],
                    "get": _call(
                        "Read the text of a file",
                        {"200": {"description": "Its text", "content": _ANY}, "500": error, **refusals},
                    ),
                },
                "/ms/{file_id}": {
                    "parameters": [_ID],
                    "get": _call(
                        "Read the image or video of ms://ID",
                        {"200": {"description": "It", "content": _ANY}, **refusals},
                    ),
                },
                "/healthz": {
                    "get": _call("Say what the server does", {"200": _answer("It is well", {})}, security=_OPEN)
                },
                "/openapi.json": {"get": _call("Give this document", {"200": _answer("It", {})}, security=_OPEN)},
            },
            "components": {
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
                "schemas": {"File": _FILE, "Error": _ERROR},
            },
        }
    )


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _call(summary: str, responses: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"summary": summary, "responses": responses, **more}


def _object(required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer", "minimum": 0}
_ANY: Final[dict[str, Any]] = {"*/*": {"schema": {}}}
_FILE: Final = _object(
    "id object bytes created_at filename purpose status status_details",
    id=_TEXT, object={"const": "file"}, bytes=_NUMBER, created_at=_NUMBER, filename=_TEXT, purpose=_TEXT, status=_TEXT,
    status_details=_TEXT,
)  # fmt: skip
_ERROR: Final = _object("error", error=_object("message type", message=_TEXT, type=_TEXT))
_LIST: Final = _object(
    "object data", object={"const": "list"}, data={"type": "array", "items": {"$ref": "#/components/schemas/File"}}
)
_DELETED: Final = _object("deleted id object", deleted={"const": True}, id=_TEXT, object={"const": "file"})
_FORM: Final = _object(
    "file", file={"type": "string", "format": "binary"}, purpose={"type": "string", "enum": list(wire.PURPOSES)}
)
