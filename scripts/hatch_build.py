"""What a wheel carries beside the package: the man page and the shells' completions, made out of the commands.

They go to the places under the prefix where man, bash-completion, zsh and fish look, so that an installation for
everybody, for one user or by pipx (the man page) has them without another step. An editable one has none: its commands
change, and files would not.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Documents(BuildHookInterface):  # type: ignore[type-arg]
    """Writes the files to a directory of its own, for as long as the build takes."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="moonfs-build-"))
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from moonfs.cli import cli  # noqa: PLC0415 - the package is found now
        from moonfs.cli.completion import SHARED, script  # noqa: PLC0415
        from moonfs.cli.manual import page  # noqa: PLC0415

        documents = {"share/man/man1/moonfs.1": page(cli)}
        documents |= {place: script(cli, shell) for shell, place in SHARED.items()}
        for place, text in documents.items():
            source = self._folder / place
            source.parent.mkdir(parents=True)
            source.write_text(text, encoding="utf-8")
            build_data["shared_data"][str(source)] = place

    def finalize(self, _version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        shutil.rmtree(self._folder)
