"""moonfs mounts a Moonshot (Kimi) Files account as a drive."""

__version__ = "0.1.0"
