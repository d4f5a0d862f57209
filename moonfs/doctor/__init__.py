"""`moonfs doctor`: what a drive needs, looked at piece by piece, each with the line that mends it.

    machine     /dev/fuse, libfuse, fusermount, fuse.conf, fstab, mounts that are stale or hang
    storage     the directories of the drive: whose they are, how much is free
    account     config.toml, key and region, clock, quota; the local Files API
    bundle      the report of all that for others, without secrets

It looks and changes nothing. The only requests are those for the list of files, with the key, to the vendor's two
addresses or to the one that was configured (X1).

**Threading:** called by one thread.
"""

from moonfs.doctor.findings import Finding, State

__all__ = ["Finding", "State"]
