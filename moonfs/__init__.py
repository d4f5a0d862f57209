"""moonfs mounts a Moonshot (Kimi) Files account as a drive. This page is the floor plan of the house.

A module imports only from lines below its own; modules on one line do not know each other. A test holds that.

    cli                                       commands, exit codes; every error is one sentence
    mount · doctor                            the life of one mount: lock, daemon, readiness, end · what it needs
    locks · prerequisites                     one mount an account and a directory · what a mount needs of the machine
    ending                                    how a drive is taken from its directory, and who keeps it from ending
    operations · mountpoints                  the FUSE adapter with the one errno boundary · the mount table
    daemons · holders                         what serves a drive, found and asked without it · who holds one
    filesystem                                what the drive is: every promise about paths and handles; no errno
    closes                                    what a close means, by who closes
    overview · control · ahead                what the drive says of itself · the directory `.moonfs` · texts that are
                                               fetched before somebody opens them
    renames · removals                        how names change hands, and purposes with them · how they go
    versions · overlay                        the life of a written file · local files laid over remote ones
    flights · shown · lingering · awaiting    versions on their way to the service · what `stat` shows · old ones ·
                                               waits for texts that are to come
    temporaries · adoption                    passing names and what is held · bytes that become originals
    promises · recovery                       bytes and intents made durable here · what an earlier run left of them
    reserves                                  versions that had to make way for the next ones of their names
    disowned · conflicts                      uploads that were given up in doubt, and their copies · older files of a
                                               name that several machines stored
    proofs                                    what their texts prove, and when one that cannot be had counts as none
    writeback · remote · room                 the uploader · the account: client, listing, texts · what still fits
    namespace · handles                       what every name means: local files over the remote listing · open files
    localfile · table                         one file whose newest bytes are here · the names of the service's files
    doubts                                    whose copy it is, where an upload ended without an answer
    api                                       the client: the only user of httpx; translation, retries
    numbering                                 whether the service numbers names that are taken
    listing · contents · originals            caches: the account's files · their texts · own bytes
    readahead · prefetch                      the next texts of whoever reads in order · all that were asked for
    journal · spool · attributes · errorlog   what is on disk: intents · writers' bytes · times, hashes · failures
    places                                    where a path leads: the root, `.moonfs` and its views of the same files
    advice                                    what to do with a file whose type is refused
    names · texts · spellings                 untrusted names to names here · texts on disk · one id a file
    workers · traffic · groupcommit           background tasks · whose request goes first · shared fsyncs
    dispatch · lookups                        the quick way from libfuse into Python · renames that nobody falls between
    announcer                                 who watches is told of names that come and go without a call of theirs
    openers · mounts                          who opened a file, and has it open still · the kernel's mount table
    pace · breaker                            how much the service takes · whether it is there
    keys                                      where the API key comes from
    profiles · service                        flags over environment over config.toml · systemd's units
    notify · logfile · packages               what systemd is told · a drive's log · the line that installs what lacks
    config · settings                         accounts and directories · how a drive behaves
    refusals                                  what the service's refusals mean, by one table of its words
    wire · errors                             the API's formats · the tree of errors
    disk · wording                            why a disk refuses · numbers and moments in words

    server/                                   the local Files API: shares `wire` and `disk`, deletable in one move;
                                              `mount` knows its `embed`, `cli` its `command`

More layers than a FUSE driver needs at the least: `versions`, `flights` and `promises` keep the uploads' bookkeeping
out of `filesystem`; `namespace` and `room` are questions that several of them ask.
"""

__version__ = "0.1.0"
