"""`python -m moonfs`: the same as `moonfs`."""

from moonfs.cli import main

if __name__ == "__main__":
    main()
