"""`moonfs sync`: until everything that was on its way has arrived, or has failed.

A drive numbers what it promises to bring to the service; what is to be waited for are the numbers that it had given out
when the command began. So whoever goes on copying holds up nobody, and a file that gets newer bytes meanwhile is
waited for until the service has the ones that it had, or later ones. An upload that was given up in doubt has a key;
when it is told what has become of it, what is deleted or sent for it is waited for too (W3).

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
import sys
import time
from shlex import quote
from typing import Any, Final

import click

from moonfs import mountpoints, mounts
from moonfs.cli import offers, words
from moonfs.cli.numbers import Number
from moonfs.cli.words import say
from moonfs.errors import UsageError

#: Seconds between two looks.
_PAUSE: Final = 0.2


class Sync:
    """The wait for one drive.

    Attributes:
        point: where it is mounted.
        files, bytes, deletions: what there was to upload and to delete at the beginning.
        left: the files that are still to be uploaded, sorted.
        left_bytes: their size.
        left_deletions: how many deletions are still to be done.
        left_doubts: the files of which an upload was given up, and may have left a copy, sorted.
        failed: what the service refuses, each with `name`, `error` and `next`.
        trouble: why uploads that are left are tried again, in the same way.
        under_way: the uploads under way, as the drive says.
    """

    def __init__(self, point: str, uploads: dict[str, Any]) -> None:
        """Begin with what the drive says of its `uploads` now.

        Raises:
            UsageError: it is a drive of an older moonfs, which does not say enough.
        """
        self.point = point
        try:
            numbers = [each["last"] for each in uploads["unsettled"].values()]
            self._upto = max([*numbers, *(each["number"] for each in uploads["failed"])], default=-1)
            self._deleting = frozenset(uploads["deleting"])
            self._doubts = dict(uploads["settling"])
        except KeyError:
            raise UsageError(
                f"The drive on {point} is one of an older moonfs; unmount it with: moonfs umount {quote(point)}"
            ) from None
        self._then: dict[str, int] = {}
        self.look(uploads)
        self.files, self.bytes = len(self.left), self.left_bytes
        self.deletions = self.left_deletions + len(self.left_doubts)

    def look(self, uploads: dict[str, Any]) -> bool:
        """Take over what the drive says of its uploads now; return whether nothing is left."""
        self._take_on(uploads)
        left = {
            name: each
            for name, each in uploads["unsettled"].items()
            if each["first"] <= max(self._upto, self._then.get(name, -1))
        }
        self.left = sorted(left)
        self.left_bytes = sum(each["bytes"] for each in left.values())
        self.left_deletions = len(self._deleting.intersection(uploads["deleting"]))
        self.left_doubts = sorted(self._doubts.values())
        self.failed = [each for each in uploads["failed"] if each["number"] <= self._upto]
        self.trouble = [each for each in uploads["waiting"] if each["name"] in left]
        self.under_way = [each for each in uploads["under_way"] if each["name"] in left]
        return not self.is_open

    @property
    def is_open(self) -> bool:
        """Whether something is left."""
        return bool(self.left or self.left_deletions or self.left_doubts)

    def _take_on(self, uploads: dict[str, Any]) -> None:
        """Take on what comes of the doubts that are settled by now: a deletion, or the version that had arrived."""
        over = {key: name for key, name in self._doubts.items() if key not in uploads["settling"]}
        if not over:
            return
        self._doubts = {key: name for key, name in self._doubts.items() if key not in over}
        self._deleting |= frozenset(uploads["deleting"])  # its copies are among them
        self._then |= {name: uploads["unsettled"].get(name, {}).get("last", -1) for name in over.values()}

    @property
    def is_mounted(self) -> bool:
        """Whether the drive is there still."""
        mounted = mountpoints.at(self.point)
        return mounted is not None and mounted.fstype == mountpoints.FSTYPE

    def give_up(self) -> None:
        """Wait for nothing more: the drive does not answer."""
        self.left, self.trouble, self.left_deletions, self.left_doubts = [], [], 0, []


@click.command(short_help="Wait until everything is uploaded.")
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.drives)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=Number(min=0),
    help="Wait no longer than this; what is left goes on by itself. [as long as it takes]",
)
def sync(directory: str | None, timeout: float | None) -> None:
    """Wait until all that is pending on the drive on DIR, or without DIR on all of your drives, is uploaded or has
    failed.

    Ends with status 1 and names what failed, and why, or what is left when the time is up. What is copied in after the
    command has begun is not waited for.

    sync(1) cannot do this: syncfs(2), `sync -f` too, never reaches a drive, and fsync(2) of a directory, `sync DIR`,
    makes things safe on this disk.
    """
    points = _points(directory)
    if not points:
        say("No drive of yours is mounted; nothing is pending.", err=True)
    waits, problems = [], []
    for point in points:
        try:
            waits.append(Sync(point, mountpoints.read_status(point)["uploads"]))
        except UsageError as error:
            problems.append(str(error))
    problems += _follow(waits, float("inf") if timeout is None else time.monotonic() + timeout)
    several = len(points) > 1
    for wait in waits:
        failed = [*wait.failed, *wait.trouble]
        told = {each["name"] for each in failed}
        step = f"It goes on by itself; see moonfs status {quote(wait.point)}."
        failed += [{"name": name, "error": "not uploaded yet", "next": step} for name in wait.left if name not in told]
        told.update(wait.left)
        unsure = "an upload ended without an answer, and it is not told yet what has become of it"
        failed += [{"name": name, "error": unsure, "next": step} for name in wait.left_doubts if name not in told]
        if wait.left_deletions:
            failed.append({"name": "Not deleted yet", "error": words.count(wait.left_deletions, "file"), "next": step})
        for line in words.failures(
            [{**each, "name": f"{wait.point}/{each['name']}"} if several else each for each in failed]
        ):
            problems.append(line)
    say(*problems, err=True)
    if problems:
        sys.exit(1)


def _points(directory: str | None) -> list[str]:
    if directory is None:
        user = os.geteuid()
        return [mount.point for mount in mounts.table() if (mount.fstype, mount.owner) == (mountpoints.FSTYPE, user)]
    point = mountpoints.absolute(directory)
    mounted = mountpoints.at(point)
    if mounted is None or mounted.fstype != mountpoints.FSTYPE:
        raise UsageError(f"No moonfs drive is mounted on {directory}; moonfs status lists the ones there are.")
    return [point]


def _follow(waits: list[Sync], ends: float) -> list[str]:
    """Show how the uploads go on until nothing is left or the time is up; return what is wrong with the drives."""
    open_ones = [wait for wait in waits if wait.is_open]
    problems: list[str] = []
    if not open_ones:
        return problems
    from moonfs.cli.progress import Uploading  # noqa: PLC0415 - rich is large, and other commands do without

    with Uploading(
        sum(wait.bytes for wait in open_ones), sum(wait.files + wait.deletions for wait in open_ones)
    ) as bar:
        while open_ones and time.monotonic() < ends:
            time.sleep(min(_PAUSE, max(0.0, ends - time.monotonic())))
            for wait in list(open_ones):
                try:
                    over = wait.look(mountpoints.read_status(wait.point)["uploads"])
                except UsageError as error:
                    gone = f"{wait.point} was unmounted meanwhile; what is left goes on after its next mount."
                    problems.append(str(error) if wait.is_mounted else gone)
                    over = True
                    wait.give_up()
                if over:
                    open_ones.remove(wait)
            trouble = [each for wait in open_ones for each in wait.trouble]
            bar.show(
                files=sum(len(wait.left) + wait.left_deletions + len(wait.left_doubts) for wait in open_ones),
                size=sum(wait.left_bytes for wait in open_ones),
                under_way=[each for wait in open_ones for each in wait.under_way],
                trouble=f"{trouble[0]['name']}: {trouble[0]['error']}" if trouble else "",
            )
    return problems
