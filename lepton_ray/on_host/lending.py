"""What a caller in Python hands to a run's own process: frames, plans and values as files in a folder lent to it.

The folder is there while the run lasts and not after it, so nothing that outlives the run may point into it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lepton_ray.errors import DataError

LENT_PREFIX = "lepton-table-"
"""Begins the name of the folder."""


def lend(given: Any, place: Path, role: str) -> str:
    """A path that the run can read: the one that was given, or of a file in ``place`` that holds what was given."""
    if isinstance(given, str):
        return given
    if isinstance(given, Path):
        return str(given.expanduser())
    from lepton_ray.table.cleaning import CleaningPlan  # with pyarrow and pandas, which a name can do without

    folder = place / role
    folder.mkdir()
    if isinstance(given, CleaningPlan | Mapping):
        path = folder / f"{role}.json"
        path.write_text(given.to_json() if isinstance(given, CleaningPlan) else json.dumps(dict(given)), "utf-8")
        return str(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lepton_ray.table.source import open_source

    source = open_source(given)
    path = folder / f"{source.name}.parquet"
    try:
        pq.write_table(source.read(), path)
    except pa.ArrowException as fault:
        reason = str(fault).splitlines()[0].rstrip(".")
        raise DataError(
            f"{source.name} holds what a run cannot take over: {reason}.", "Make text or numbers of it, or drop it."
        ) from None
    return str(path)


def lent_name(path: str) -> str | None:
    """What was lent, in words, if that is a path to it: "a pandas frame of 1,234 x 7"."""
    return Path(path).stem if Path(path).parent.parent.name.startswith(LENT_PREFIX) else None
