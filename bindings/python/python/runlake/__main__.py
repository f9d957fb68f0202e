"""The command `runlake`."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Runs the command line and returns its exit code."""
    # The command is no Python program to its user: Ctrl-C is for the command, not for an interpreter that waits for it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from runlake import _native

    return _native.cli_main(["runlake", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
