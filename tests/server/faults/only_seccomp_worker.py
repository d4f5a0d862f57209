"""A worker within one wall."""

from loose_worker import run

run("seccomp")
