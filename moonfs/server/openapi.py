"""What the server can be asked, as an OpenAPI 3.1 document: for tools that read one, and for the test that tries all.

It describes the calls of the service as the dialect in force answers them, in both formats where there are two, and the
three calls that are ours.

**Threading:** pure functions.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import moonfs
from moonfs import wire
from moonfs.server.dialect import BETA, Dialect

_ID: Final = {"name": "file_id", "in": "path", "required": True, "schema": {"type": "string"}}
_OPEN: Final[list[Any]] = []


@functools.cache
def document(dialect: Dialect) -> bytes:
    """Return the document, as JSON."""
    return wire.dump(
        {
            "openapi": "3.1.0",
            "info": {"title": "The Files API of Moonshot, served by moonfs", "version": moonfs.__version__},
            "servers": [{"url": "/"}],
            "security": [{"key": []}],
            "paths": _paths(dialect),
            "components": {
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
                "schemas": _schemas(dialect),
            },
        }
    )


def _paths(dialect: Dialect) -> dict[str, Any]:
    """Return what each path answers."""
    is_double = dialect.version_header == "answer"
    either = [_VERSION] if is_double else []
    file, files = (_either(known, is_double=is_double) for known in ("File", "List"))
    error = _answer("A refusal", _reference("Error"))
    refusals = {"400": error, "401": error, "404": error, "429": error}
    created = {"201": _answer("The file, in the second format", _reference("FileMetadata"))} if is_double else {}
    gone = {"204": {"description": "It is gone, in the second format"}} if is_double else {}
    pages = _PAGES if dialect.pages == "answer" else []
    uploaded = {"200": _answer("The file", _reference("File")), **created, "500": error, **refusals}
    return {
        "/v1/files": {
            "get": _call("List the files", {"200": _answer("The files", files), **refusals}, parameters=either + pages),
            "post": {
                **_call("Upload a file", uploaded, parameters=either),
                "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _form(dialect)}}},
            },
        },
        "/v1/files/{file_id}": {
            "parameters": [_ID, *either],
            "get": _call("Describe a file", {"200": _answer("The file", file), **refusals}),
            "delete": _call("Delete a file", {"200": _answer("It is gone", _DELETED), **gone, **refusals}),
        },
        "/v1/files/{file_id}/content": {
            "parameters": [_ID, *either],
            "get": _call(
                "Read the text of a file",
                {"200": {"description": "Its text", "content": _ANY}, "500": error, **refusals},
            ),
        },
        "/v1/models": {
            "get": _call("List the models: none", {"200": _answer("None", _NO_MODELS), **refusals}, parameters=either)
        },
        "/ms/{file_id}": {
            "parameters": [_ID],
            "get": _call(
                "Read the image or video of ms://ID",
                {"200": {"description": "It", "content": _ANY}, **refusals},
            ),
        },
        "/healthz": {"get": _call("Say what the server does", {"200": _answer("It is well", {})}, security=_OPEN)},
        "/openapi.json": {"get": _call("Give this document", {"200": _answer("It", {})}, security=_OPEN)},
    }


def _schemas(dialect: Dialect) -> dict[str, Any]:
    """Return what a file, a list and an error look like."""
    file = {**_FILE, **({"file_type": _TEXT} if dialect.file_type == "show" else {})}
    bounds = {"first_id": _TEXT, "last_id": _TEXT, "has_more": {"type": "boolean"}}
    ends: dict[str, Any] = bounds if dialect.list_bounds == "show" else {}
    token = {"next_page_token": _TEXT} if dialect.pages == "answer" else {}
    error = {"message": _TEXT, "type": _TEXT, **({"request_id": _TEXT} if dialect.request_id == "show" else {})}
    schemas = {
        "File": _object(file),
        "List": _object(
            {"object": {"const": "list"}, "data": {"type": "array", "items": _reference("File")}, **ends}, **token
        ),
        "Error": _object({"error": _object(error)}),
    }
    if dialect.version_header == "answer":
        items = {"type": "array", "items": _reference("FileMetadata")}
        schemas["FileMetadata"] = _object(_METADATA)
        schemas["ListMetadata"] = _object({"items": items, "next_page_token": _TEXT})
    return schemas


def _either(known: str, *, is_double: bool) -> dict[str, Any]:
    """Return the schema of an answer that has the same status in both formats."""
    return {"oneOf": [_reference(known), _reference(known + "Metadata")]} if is_double else _reference(known)


def _form(dialect: Dialect) -> dict[str, Any]:
    """Return the fields of an upload."""
    name = {"filename": _TEXT} if dialect.filename_field == "take" else {}
    purpose = {"type": "string", "enum": list(wire.PURPOSES)}
    return _object({"file": {"type": "string", "format": "binary"}}, purpose=purpose, **name)


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _call(summary: str, responses: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"summary": summary, "responses": responses, **more}


def _object(required: dict[str, Any], **optional: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer", "minimum": 0}
_ANY: Final[dict[str, Any]] = {"*/*": {"schema": {}}}
_FILE: Final = {
    "id": _TEXT, "object": {"const": "file"}, "bytes": _NUMBER, "created_at": _NUMBER, "filename": _TEXT,
    "purpose": _TEXT, "status": _TEXT, "status_details": _TEXT,
}  # fmt: skip
_METADATA: Final = {
    "id": _TEXT, "filename": _TEXT, "mime_type": _TEXT, "size_bytes": _NUMBER,
    "created_at": {"type": "string", "format": "date-time"}, "purpose": _TEXT, "extract_status": _TEXT,
}  # fmt: skip
_DELETED: Final = _object({"deleted": {"const": True}, "id": _TEXT, "object": {"const": "file"}})
_NO_MODELS: Final = _object({"object": {"const": "list"}, "data": {"type": "array", "maxItems": 0}})
_VERSION: Final = {
    "name": "kimi-api-version", "in": "header", "description": "Asks for the second format.",
    "schema": {"type": "string", "enum": [BETA]},
}  # fmt: skip
_PAGES: Final[list[dict[str, Any]]] = [
    {"name": "page_size", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000}},
    {"name": "page_token", "in": "query", "schema": {"type": "string"}},
]
