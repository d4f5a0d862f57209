"""Text out of documents and pictures: a registry of formats, read in worker processes that may crash.

    extractor                  chooses a format, asks a lane, turns what comes back into text or a refusal
    lanes                      warm workers by kind (text, light, small ocr, ocr): spawn, wall clock, kill, idle end
    turns                      whose document is next, where several accounts wait
    rescue                     of a document whose reader was killed, the text so far
    examination                which walls this machine has around readers, for the log and the doctor
    priming                    bytecode that workers cannot write
    processes                  of workers, seen from outside: started, heard, ended with all that came of them
    singleflight               the same bytes on their way in several times at once are read once
    registry                   the table of formats: extensions, media types, reader
    ------ in the worker, never in the server ------
    worker                     the loop of one worker: a job in, a file of text out
    confinement                what a worker may use: memory, CPU, its document, no network
    landlock · seccomp         walls of the kernel: around files  ·  around system calls
    readable                   what a reader has to read besides its document
    text markup rtf pdf pictures svg   readers, and those of Office by the container that they come in:
    archive: word sheets slides epub   zip files, Office 2007 and later, and books
    compound: word97 sheets97 slides97 OLE files, Office before that
    illustrations                      of Office files: charts, diagrams, comments, pictures of text
    mobi kf8 palm                      Kindle books, the pages of newer ones, and how they are packed
    tags                               of html, and of the pages in books: tags and text, one after the other
    harmless · drawing         an svg of what may be drawn alone  ·  and into a picture
    ocr                        pictures into text, by one warm engine
    layout · textlayer         lines into reading order  ·  is the text layer of a page real, can it be mended
    document                   what readers are given and write to, what a document may cost; how they say that there
                               is nothing to read

To add a format: a function `read(document, output)` and a line in the registry. Importing this package
imports no reader; each reader's libraries are loaded in the worker at its first job.

**Threading:** `extractor` and `lanes` run in the server's event loop; a worker is one thread.
"""
