"""What the drive says of itself in `status.json`: quota, listing, queue, traffic, caches; no request is sent for it.

**Threading:** any thread may call; the filesystem's lock is taken for a moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from moonfs.conflicts import Conflicts
from moonfs.errors import MoonfsError, next_step
from moonfs.journal import Journal
from moonfs.namespace import Namespace
from moonfs.originals import Originals
from moonfs.remote import Remote as Account
from moonfs.room import Room
from moonfs.versions import Versions


def overview(
    lock: threading.RLock,
    *,
    account: Account,
    space: Namespace,
    room: Room,
    versions: Versions,
    journal: Journal,
    originals: Originals,
    conflicts: Conflicts,
    errno_name: Callable[[MoonfsError], str],
) -> dict[str, object]:
    """Return the state of the drive, ready for JSON; sizes are in bytes."""
    snapshot = account.listing.peek()
    with lock:
        locals_ = list(space.local.values())
        behind = [kept for name, kept in space.kept.items() if kept.failed and space.local.get(name) is not kept]
        quota = room.quota()
        used_bytes, used_files = room.used()
        pending = versions.pending()
        doubts, back = versions.doubts, versions.back
        settling = {key: left.name for key, left in space.disowned.items()}
        unsettled = {
            file.name: {"first": file.oldest, "last": file.newest, "bytes": file.size} for file in versions.unsettled()
        }
    stale = snapshot.stale_because
    contents = account.contents
    # In this order: an upload that nobody wants any more ends with a deletion, and one of the two is to be seen.
    active = versions.uploader.active
    deletions = journal.deletions()
    left, wanted = versions.copies(), versions.misnamed()
    with lock:
        copies = [
            {
                "name": name,
                "id": snapshot.files[file_id].spelt,
                "error": "An upload ended without an answer, and this may be its copy, or another machine's file.",
                "next": f"Look at it, and delete {name} if you do not need it.",
            }
            for file_id, name in space.shown_names(snapshot, left).items()
        ]
        misnamed = [
            {
                "name": name,
                "id": file_id,
                "error": f"It is to be called {wanted[file_id]}, and the service has given it a number.",
                "next": f"See what else is called {wanted[file_id]}, in the vendor's console too, then rename {name}.",
            }
            for file_id, name in space.shown_names(snapshot, wanted).items()
        ]
    return {
        "quota": {
            "files": used_files,
            "max_files": quota.total_files,
            "free_files": quota.free_files,
            "bytes": used_bytes,
            "max_bytes": quota.total_bytes,
            "free_bytes": quota.free_bytes,
            # Where the limits are known from: documented, set, learned, refused.
            "files_by": room.files.origin,
            "bytes_by": room.bytes.origin,
        },
        "listing": {
            "files": len(snapshot.files),
            "left_out": account.left_out,
            "unread": account.unread,
            "requests": account.listing.requests,
            "stale_because": None if stale is None else str(stale),
        },
        "uploads": {
            "active": active,
            "done": versions.uploader.uploaded,
            "under_way": [sending.shown() for sending in account.sending()],
            "pending": sorted({*(file.name for file in pending), *doubts}),
            "pending_bytes": sum(file.size for file in pending),
            "waiting": [
                {"name": file.name, "error": str(file.trouble), "next": next_step(file.trouble)}
                for file in pending
                if file.trouble is not None
            ],
            # What `moonfs sync` goes by: the numbers of a name's first and last promise that is open.
            "unsettled": unsettled,
            # And uploads that were given up, by a key: the service may have a copy that is to go (W3, W8).
            "settling": settling,
            # Uploads that ended without an answer, and what they may have left on the service (W3).
            "doubts": doubts,
            "copies": copies,
            # Names that the service has changed, and versions that came back, as newer ones could not be stored (W4).
            "misnamed": misnamed,
            "back": back,
            "deletions": len(deletions),
            "deleting": deletions,
            "local": sorted(file.name for file in locals_ if file.stays_local and not file.writers),
            "temporary": sorted(file.name for file in locals_ if file.passing and file.size),
            "failed": [
                {
                    "name": file.name,
                    "number": file.newest,
                    "error": said + str(file.refusal),
                    "next": next_step(file.refusal),
                    "errno": errno_name(file.refusal),
                }
                # What shows has been refused, and what had made way for it is refused as well (W4).
                for said, files in (("", locals_), ("the version before cannot come back: ", behind))
                for file in files
                if file.refusal is not None
            ],
        },
        "conflicts": conflicts.summary(),
        "traffic": account.traffic.summary(),
        "caches": {
            "content": {
                "bytes": contents.used,
                "disk_bytes": contents.used_on_disk,
                "hits": contents.hits,
                "disk_hits": contents.disk_hits,
                "misses": contents.misses,
                "read_ahead": contents.fetched_ahead,
            },
            "originals": {
                "files": originals.count,
                "bytes": originals.used,
                "max_bytes": originals.capacity,
            },
        },
    }
