"""Where things lie: whether a table is where its path says, and where runs go. Asked before anything that could read
it is imported; knows no format."""

from pathlib import Path

from lepton_ray.errors import DataError

BUILTIN = "builtin:"
"""Begins the name of a table that ships with the package."""
RUNS_FOLDER = "lepton-runs"
"""Where runs are put, below the current folder."""


def missing(path: Path) -> DataError:
    """What is said of a file that is not there."""
    return DataError(f"There is no file {path}.", "Check the path.")


def require_there(table: str) -> None:
    """Refuse a path that leads nowhere; one that cannot be looked at is left to whoever reads it.

    Raises:
        DataError: there is nothing at this path.
    """
    if table.startswith(BUILTIN):
        return
    path = Path(table).expanduser()
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except OSError:
        return
