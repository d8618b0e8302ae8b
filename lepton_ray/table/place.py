"""Whether a table is where its path says: asked before anything that could read it is imported. Knows no format."""

from pathlib import Path

from lepton_ray.errors import DataError

BUILTIN = "builtin:"
"""Begins the name of a table that ships with the package."""


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
