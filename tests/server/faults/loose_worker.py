"""A worker without its walls, as on a machine that has none of them; the limits hold."""

from moonfs.server.extraction import landlock, seccomp, worker


def main() -> None:
    confinement = worker.confine.__globals__
    confinement["_unshare"] = lambda _libc: False
    landlock.restrict = lambda *_: 0
    seccomp.install = lambda _libc: False
    worker.main()


main()
