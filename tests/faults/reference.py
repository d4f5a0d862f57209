"""What a drive must show: files as POSIX has them, with the clauses of the contract that differ. Knows no drive.

A file outlives its name while it is open, and one that is written in place stays the same file, whoever holds it. Three
things are looser than POSIX. Who opened a file to read before it was written sees the bytes of then, of now, or of a
close between (L4); who opens one while it is written sees the last that were closed, or later ones. A temporary name or
an empty file is not on the service (W6); what the service had under the name may stay there until the file has bytes,
or goes, and a stored file that gets a temporary name may stay there under its old one (W9). A purpose is not known
after everything (N5, W11).

**Threading:** one thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from moonfs import names, wire

#: The twelve names. Eight are stored, one of them as a video, which has no text; four stay on this machine (N6).
STORED = ("a.txt", "b.txt", "c.md", "d.csv", "e.json", "f.log", "g.png", "h.mp4")
TEMPORARY = ("a.txt.tmp", ".b.txt.swp", "c.md~", "d.part")
NAMES = STORED + TEMPORARY
#: Slots for open files of each process.
SLOTS = 4


@dataclass(eq=False)
class File:
    """One file, with a name or without.

    Attributes:
        versions: all that it held since it was made, the newest last.
        closed: which of them the last close acknowledged.
        writers: how many open files may write to it.
        purpose: what it is on the service, where that is certain, else empty.
        mtime: seconds since 1970, where it was set and nothing was written since.
        former: names that it, and what it took the place of, has had since the service had it: the service may have
            it under these still while it is temporary (W9) or empty (W6).
    """

    versions: list[bytes] = field(default_factory=lambda: [b""])
    closed: int = 0
    writers: int = 0
    purpose: str = ""
    mtime: int | None = None
    former: set[str] = field(default_factory=set)

    @property
    def data(self) -> bytes:
        """What it holds."""
        return self.versions[-1]

    @property
    def readable(self) -> set[bytes]:
        """What who opens it now may read."""
        return set(self.versions[self.closed :] if self.writers else self.versions[-1:])

    def change(self, data: bytes, purpose: str) -> None:
        """Take in that it holds `data` from now on, written as for `purpose`."""
        if data != self.data:
            self.purpose = purpose
            self.versions.append(data)
        elif self.purpose != purpose:
            self.purpose = ""  # the same bytes upload nothing (W4)
        self.mtime = None

    def close(self) -> None:
        """Take in that what it holds is acknowledged."""
        self.closed = len(self.versions) - 1


@dataclass(eq=False)
class Open:
    """One open file.

    Attributes:
        mode: `r` to read, `a` to append, `w` to read and write anywhere.
        since: the version that the file had when it was opened.
        slots: how many descriptors it has.
        aside: the name below a purpose to which the kernel has moved it, as libfuse's node (W12); else empty.
    """

    file: File
    mode: str
    since: int
    slots: int = 1
    aside: str = ""

    @property
    def readable(self) -> set[bytes]:
        """What may be read through it."""
        return {self.file.data} if self.mode != "r" else set(self.file.versions[self.since :])


class Reference:
    """What is under the names, and what the processes hold.

    Attributes:
        names: the files by name.
        slots: what is open, by process and slot.
    """

    def __init__(self) -> None:
        self.names: dict[str, File] = {}
        self.slots: dict[tuple[int, int], Open] = {}

    def purpose_of(self, name: str) -> str:
        """Return the purpose that a name has by itself (W11)."""
        return wire.VIDEO if names.extension(name) in wire.VIDEO_EXTENSIONS else wire.FILE_EXTRACT

    def stays_here(self, name: str) -> bool:
        """Say whether a file stays on this machine for certain (W6, N6)."""
        return name in TEMPORARY or not self.names[name].data

    def written(self, name: str, *, purpose: str = "", anew: bool = False) -> File:
        """Return the file to be written under `name`, which is made if need be; `anew`: the one that is there goes."""
        made = File(purpose=purpose or self.purpose_of(name))
        if anew and name in self.names:
            made.former = self.names.pop(name).former
        return self.names.setdefault(name, made)

    def rename(self, old: str, new: str) -> None:
        """Give the file `old` the name `new`."""
        if old == new:
            return
        file = self.names.pop(old)
        file.former |= {old, *(self.names[new].former if new in self.names else ())}
        if self.purpose_of(old) != self.purpose_of(new):
            file.purpose = ""
        self.names[new] = file

    def give(self, name: str, purpose: str) -> None:
        """Move a file to a purpose: what is open of it has its node there, and not in the root, from then on."""
        file = self.names[name]
        file.purpose = purpose
        for opened in self.slots.values():
            if opened.file is file:
                opened.aside = name

    def is_aside(self, opened: Open) -> bool:
        """Say whether another file than the open one, or none, has the name of its node in a purpose's directory.

        Who reads it then sees that one, if it took the name at once and has that purpose (W12). Otherwise, as where
        the file was renamed in the root before, it stays with its own, with the size of the other. The open point:
        libfuse's node is the path, and a rename in the root moves none of a purpose.
        """
        return bool(opened.aside) and self.names.get(opened.aside) is not opened.file

    def open(self, process: int, slot: int, name: str, mode: str) -> None:
        """Open a file that is there."""
        file = self.names[name]
        file.writers += mode != "r"
        since = len(file.versions) - 1 if not file.writers else min(file.closed, len(file.versions) - 1)
        self.slots[process, slot] = Open(file, mode, since)

    def dup(self, process: int, slot: int, other: int) -> None:
        """Give an open file a second descriptor."""
        opened = self.slots[process, other] = self.slots[process, slot]
        opened.slots += 1

    def close(self, process: int, slot: int) -> None:
        """Close a descriptor: what was written is acknowledged."""
        opened = self.slots.pop((process, slot))
        opened.slots -= 1
        if opened.mode != "r":
            opened.file.close()
            opened.file.writers -= not opened.slots

    def free(self, process: int) -> list[int]:
        """Return the slots that a process has free."""
        return [slot for slot in range(SLOTS) if (process, slot) not in self.slots]

    def held(self, process: int, modes: str = "raw") -> list[int]:
        """Return the slots in which a process has something open in one of `modes`."""
        return [slot for (who, slot), opened in self.slots.items() if who == process and opened.mode in modes]

    def stored(self) -> dict[str, bytes]:
        """Return what the service must have once nothing is pending, but for what is open to be written."""
        return {name: file.data for name, file in self.names.items() if not self.stays_here(name) and not file.writers}

    def settle(self) -> None:
        """Take in that nothing is pending."""
        for name, file in self.names.items():
            if not self.stays_here(name) and not file.writers:
                file.former.clear()

    def may_be_stored(self) -> set[str]:
        """Return the other names that the service may have then, of files that are open, or empty, or temporary."""
        unsettled = [{name, *file.former} for name, file in self.names.items() if file.writers or self.stays_here(name)]
        return set().union(*unsettled) - {*TEMPORARY}
