"""The console script ``lepton``: a run or an endpoint goes to its supervisor, the rest to the CLI.

The way to the supervisor loads the standard library alone, so that the wall stands before anything can go wrong.
"""

import os
import signal
import sys


def main() -> int:
    """Run the command line and return its exit code."""
    argv = sys.argv[1:]
    stand_in()
    if argv[:1] in (["run"], ["serve"], ["resume"]) and not {"--help", "-h"} & set(argv):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the supervisor listens, Ctrl-C ends it without a word
        if argv[0] == "resume":
            from lepton_ray.on_host.taking_up import main as supervise
        else:
            from lepton_ray.on_host.supervisor import main as supervise
        return supervise(argv)
    from lepton_ray.cli.main import main as command

    return command() or 0


def stand_in() -> None:
    """Let the null device stand in for what the caller has closed of input, output and errors: else the first pipe that
    is opened takes its number, and what is told goes there."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it takes the lowest number that is free: this
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))


if __name__ == "__main__":
    sys.exit(main())
