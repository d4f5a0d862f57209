"""`moonfs doctor`: what a drive needs, looked at piece by piece, each with the line that mends it.

    machine     /dev/fuse, libfuse, fusermount, fuse.conf, fstab
    storage     the directories of the drive: whose they are, how much is free
    drives      drives that are mounted, stale, or hang; a directory where one is to be
    account     config.toml, key, region, proxy, certificates, clock, quota; the local Files API, its confined readers
    mending     the lines that put a key, a setting, an address right where it was said
    bundle      the report of all that for others, without secrets

A finding has failed when something that this person uses cannot work; what keeps only others from working is a note.
It looks and changes nothing. The only requests are those for the list of files, with the key, to the vendor's two
addresses or to the one that was configured (X1).

**Threading:** called by one thread.
"""

from moonfs.doctor.findings import Finding, State

__all__ = ["Finding", "State"]
