"""Where a path leads: the root, `.moonfs` and its directories, and the one namespace that most of them show (N5).

The account's files have one set of names, those of the root. `purpose/X/NAME` is `NAME` seen from the side of its
purpose, `by-id/ID` is a file under the one name that nobody else has; neither is a second copy.

**Threading:** pure.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Final

from moonfs import names, wire
from moonfs.errors import Litter, NotFound, ReadOnly

ROOT: Final = ""
CONTROL: Final = names.CONTROL
BY_ID: Final = f"{CONTROL}/by-id"
PURPOSES: Final = f"{CONTROL}/purpose"
#: The directories that show files by their names in the root, with the purpose that a file put there gets; in the
#: root that is what the mount says (W11).
NAMED: Final = {ROOT: "", **{f"{PURPOSES}/{purpose}": purpose for purpose in wire.PURPOSES}}
#: Every directory of the drive; there is no way to make another.
DIRECTORIES: Final = (ROOT, CONTROL, BY_ID, PURPOSES, *(directory for directory in NAMED if directory != ROOT))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads.

    Attributes:
        directory: one of `DIRECTORIES`.
        name: in that directory; empty for the directory itself.
        is_file: this would be a file of the account, or its text; what is not is the drive's own.
        is_named: this is a name of the root, seen from the root or by its purpose.
        purpose: what a file put here gets; empty where the mount says (W11).
    """

    directory: str
    name: str
    is_file: bool = field(init=False, repr=False)
    is_named: bool = field(init=False, repr=False)
    purpose: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Each look-up asks for these, so that they are found out once for each path.
        purpose = NAMED.get(self.directory)
        object.__setattr__(self, "is_named", bool(self.name) and purpose is not None)
        object.__setattr__(self, "is_file", self.is_named or (bool(self.name) and self.directory == BY_ID))
        object.__setattr__(self, "purpose", purpose or "")


@functools.lru_cache(maxsize=2304)
def locate(path: str) -> Place:
    """Return where an absolute path of the drive leads, whether there is something or not.

    Raises:
        NotFound: below no directory of the drive.

    >>> locate("/a.pdf"), locate("/.moonfs/by-id")
    (Place(directory='', name='a.pdf'), Place(directory='.moonfs/by-id', name=''))
    >>> locate("/.moonfs/purpose/image/a.png").purpose
    'image'
    """
    whole = path[1:]
    if whole in DIRECTORIES:
        return Place(whole, "")
    directory, _, name = whole.rpartition("/")
    if directory not in DIRECTORIES:
        raise NotFound(f"No such directory: {directory}")
    return Place(directory, name)


def subdirectories(directory: str) -> list[str]:
    """Return the names of the directories in `directory` that a listing shows; the root does not show `.moonfs`."""
    if directory == ROOT:
        return []
    return [other[len(directory) + 1 :] for other in DIRECTORIES if other.rpartition("/")[0] == directory]


def check_new(place: Place) -> None:
    """Refuse a name that no file can be given (N5, N6, N7).

    Raises:
        NameTooLong, InvalidName: as `names.check`.
        ReadOnly, Litter: where nothing can be made, or what no directory keeps.
    """
    if not place.is_named:
        raise ReadOnly(
            f"Cannot make {place.name}: {place.directory or CONTROL} shows what there is; put the file into the drive "
            "itself."
        )
    if place.name == CONTROL:
        raise ReadOnly(f"Cannot make {CONTROL}: the name is the drive's own; choose another.")
    names.check(place.name)
    if names.is_litter(place.name):
        raise Litter(f"The drive keeps no {place.name}: it is what a desktop keeps for itself.")
