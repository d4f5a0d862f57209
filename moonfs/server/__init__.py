"""The local Files API: the hosted service's five endpoints on this machine, with text extraction and OCR.

It is for people without an account, without a network, or with documents that must not leave the house, and
for whoever develops against the hosted API. It knows nothing of the drive: from the rest of moonfs it
imports `moonfs.wire`, `moonfs.disk` and the version only, and it can be deleted in one move. A module imports only
from lines below its own:

    command                    `moonfs serve` and `python -m moonfs.server`: one sentence when it cannot start
    serve                      life of one server: lock, sockets, readiness, signals, end with its clients
    app                        the endpoints, their answers and refusals
    throttle                   429s, on demand
    edge · upload · delivery   around every request: id, key, drain  ·  a streamed form  ·  a content
    protocol · latency         HTTP on one connection  ·  a wait
    multipart · cors           forms, piece by piece  ·  pages of other origins
    extraction/                text out of documents, in workers of their own (see there)
    accounts                   keys, and whose files they open
    store                      SQLite rows, one file per original, limits, names; durable before it is listed
    records                    how a file is told, in either format
    staged · directory         an upload on its way in  ·  the data directory, locked and swept
    embed                      the client's side: attach to the server of a data directory, or start it
    behaviour · openapi        the switches of `moonfs serve`  ·  what can be asked
    dialect                    what changed with time: the service as of 2026-03, and as of 2026-09
    marker                     whether a directory is a data directory of ours
    address · xid              where a server is found and its key  ·  ids
    refusal · media            the table of errors  ·  media types by the first bytes

`embed`, `command`, `behaviour`, `dialect`, `cors`, `marker` and `address` need the standard library only; the rest the
extra `local`.

**Threading:** the server is one asyncio loop; `store` does its disk work in threads, under its own lock.
"""
