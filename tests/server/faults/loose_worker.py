"""A worker with some walls or none, as on a machine that lacks them; the limits hold."""

from __future__ import annotations

from moonfs.server.extraction import landlock, seccomp, worker


def run(*walls: str) -> None:
    """Be a worker within these walls: landlock, seccomp, namespaces."""
    if "namespaces" not in walls:
        worker.confine.__globals__["_unshare"] = lambda _libc: False
    if "landlock" not in walls:
        landlock.restrict = lambda *_: 0
    if "seccomp" not in walls:
        seccomp.install = lambda _libc: False
    worker.main()


if __name__ == "__main__":
    run()
