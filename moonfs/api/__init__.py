"""The client of the Files API: five calls over one connection pool, and the only user of httpx in moonfs.

What it is: `Client` lists, uploads, retrieves, deletes and fetches text; every answer is checked, every
failure becomes one exception of `moonfs.errors`, what may be repeated safely is repeated within one deadline.
What it is not: it keeps no cache, knows no FUSE and no policy. Whether a doubtful upload is matched with the
remote list and sent again (W3) is decided by its caller, to whom `maybe_stored=True` says that there is
doubt.

    client.py     the five calls, and what may be repeated
    answers.py    what an answer means, checked
    pages.py      a list that comes in pages, read to its end
    exchange.py   one request and its answer: phases, deadline, bounded body
    clock.py      the service's time, by its own answers
    connection.py no wait on a socket outlasts the call; a UNIX socket is this user's own
    origin.py     where the key may go: base URL, key, the pool of connections (X1)
    proxies.py    which proxy stands before it, by the environment
    trust.py      whose certificates are believed
    multipart.py  the body of an upload, streamed from disk
    body.py       a bounded, decoded answer body
    translate.py  statuses, error bodies and httpx exceptions into the tree of errors
    retry.py      when to try again, and after how long

**Threading:** one `Client` is shared by all threads of the process; build it after the last fork.
"""

import sys

# httpx brings its own command line along where it finds rich and pygments: a third of what a drive loads at its start,
# and 5 MB of its memory. None stands for a module that is not there (Python's import system, 5.3.1), as without them.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

from moonfs.api.client import Client  # noqa: E402
from moonfs.api.exchange import Timeouts  # noqa: E402

__all__ = ["Client", "Timeouts"]
