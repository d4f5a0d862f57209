"""Texts to read, the same wherever they are: on the service, on the disk, in memory.

**Threading:** for the main thread.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from scripts.benchmark.stage import Stage


class Library:
    """Texts that are the only files of the account.

    Attributes:
        names: of the texts.
        on_disk: a directory of the same files; rclone's server has it, too.
        in_memory: another, on tmpfs.
        ids: of the files on the service.
    """

    def __init__(self, stage: Stage, stack: ExitStack, count: int, size: int) -> None:
        """Make `count` texts of `size` bytes; `stack` takes them away, but for those on the service."""
        texts = stage.texts(count, size)
        self.names = list(texts)
        stage.service.clear()
        stage.service.fill(texts)
        self.ids = [str(file["id"]) for file in stage.service.files()]
        self.on_disk = stack.enter_context(stage.lent())
        memory = tempfile.TemporaryDirectory(prefix="moonfs-bench-", dir="/dev/shm")
        self.in_memory = Path(stack.enter_context(memory))
        for name, text in texts.items():
            for directory in (self.on_disk, self.in_memory):
                (directory / name).write_bytes(text)
