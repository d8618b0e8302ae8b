"""The console script ``lepton``: a run or an endpoint goes to its supervisor, the rest to the CLI.

The way to the supervisor loads the standard library alone, so that the wall stands before anything can go wrong.
"""

import signal
import sys


def main() -> int:
    """Run the command line and return its exit code."""
    argv = sys.argv[1:]
    if argv[:1] in (["run"], ["serve"], ["resume"]) and not {"--help", "-h"} & set(argv):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the supervisor listens, Ctrl-C ends it without a word
        if argv[0] == "resume":
            from lepton_ray.on_host.taking_up import main as supervise
        else:
            from lepton_ray.on_host.supervisor import main as supervise
        return supervise(argv)
    from lepton_ray.cli.main import main as command

    return command() or 0


if __name__ == "__main__":
    sys.exit(main())
