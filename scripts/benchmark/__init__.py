"""Measures moonfs against what else there is, in one session, and says which targets are met.

It is for a person who wants to know how fast the drive is on this machine, and for us before we call a change an
improvement. It is no test of behaviour, and nothing in `moonfs` knows it.

    __main__                the command line
    plot · report           the picture · the table, and the JSON
    jobs/                   what is done, by whom, and the targets; a module for each kind of work
    measure                 contestants take turns; medians, ratios, targets
    drives · clients        what is mounted: moonfs, rclone, an empty driver · HTTP clients: httpx and the openai SDK
    library                 texts to read, the same on the service, on the disk and in memory
    stage                   the directory, the files and the service that they all share
    service · shell         the Files API in its own process, and what it counts · timed commands, a process's needs
    counted · empty · far   run as processes: that Files API · a driver that keeps nothing · a proxy that is slow
"""
