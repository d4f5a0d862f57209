"""Writes books (.epub) as people make them, for tests: whatever is not said is as it should be."""

from __future__ import annotations

import io
import zipfile
from typing import Final

CONTAINER: Final = "META-INF/container.xml"
ENCRYPTION: Final = "META-INF/encryption.xml"


def zipped(members: dict[str, str | bytes]) -> bytes:
    """Return a zip of these members, in order."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return stream.getvalue()


def page(body: str) -> str:
    """Return a chapter."""
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><head>'
        f"<title>a chapter</title></head><body>{body}</body></html>"
    )


def container(*packages: str) -> str:
    """Return the container of renditions."""
    roots = "".join(
        f'<rootfile full-path="{package}" media-type="application/oebps-package+xml"/>' for package in packages
    )
    return (
        '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        f"{roots}</rootfiles></container>"
    )


def package(items: str, spine: str, title: str = "The Book 书") -> str:
    """Return a package of the items of its manifest and the references of its spine."""
    return (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></metadata>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )


def item(name: str, href: str, kind: str = "application/xhtml+xml", more: str = "") -> str:
    """Return a line of the manifest."""
    return f'<item id="{name}" href="{href}" media-type="{kind}" {more}/>'


def references(*names: str) -> str:
    """Return a spine."""
    return "".join(f'<itemref idref="{name}"/>' for name in names)


def book(pages: dict[str, str | bytes], more: dict[str, str | bytes] | None = None, items: str = "") -> bytes:
    """Return a book of chapters by their names, which are in the folder OEBPS; `more` members, `items` of them."""
    lines = "".join(item(f"i{number}", href) for number, href in enumerate(pages)) + items
    spine = references(*(f"i{number}" for number in range(len(pages))))
    members: dict[str, str | bytes] = {"mimetype": "application/epub+zip", CONTAINER: container("OEBPS/book.opf")}
    members["OEBPS/book.opf"] = package(lines, spine)
    members |= {f"OEBPS/{name}": content for name, content in pages.items()}
    return zipped(members | (more or {}))


def encrypted(algorithm: str, *members: str) -> str:
    """Return what a book says of encrypted members."""
    return (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" '
        'xmlns:enc="http://www.w3.org/2001/04/xmlenc#">'
        + "".join(
            f'<enc:EncryptedData><enc:EncryptionMethod Algorithm="{algorithm}"/><ds:KeyInfo '
            'xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/><enc:CipherData>'
            f'<enc:CipherReference URI="{member}"/></enc:CipherData></enc:EncryptedData>'
            for member in members
        )
        + "</encryption>"
    )
