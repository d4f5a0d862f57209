"""The one answer for a document without text, and the reason for it, which the log tells."""

from __future__ import annotations

import re
from typing import Any

NO_TEXT = "text extract error: 没有解析出内容"


def refused(server: Any, name: str, document: bytes, why: str) -> None:
    """Upload a document that has to be refused with the observed 400; `why` is looked for in the log."""
    seen = len(server.log())
    ids = server.ids()
    answer = server.upload(name, document)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == {"message": NO_TEXT, "type": "invalid_request_error"}
    assert server.ids() == ids
    assert re.search(why, server.log()[seen:]), server.log()[seen:]
