"""64-bit hashes of cells and rows: the same in every process, on every machine, for every block. Knows no plan."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lepton_ray.errors import DataError
from lepton_ray.table import values

Hashes = npt.NDArray[np.uint64]

_KEY = "lepton_ray/table"  # 16 bytes, the key of SipHash: changing it changes every split
_NULL = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0xD1342543DE82EF95)


def mix(hashes: Hashes, salt: int = 0) -> Hashes:
    """Spread 64 bits over 64 bits, one to one (the finaliser of SplitMix64)."""
    x = hashes + np.uint64((salt * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash_values(array: Any) -> Hashes:
    """One hash per value of a plain array without nulls; equal numbers hash alike, whatever their type."""
    if pa.types.is_string(array.type):
        import pandas as pd  # a sixth of a second that a refusal and a prediction can do without

        texts = np.asarray(array.to_numpy(zero_copy_only=False), dtype=object)
        return np.asarray(pd.util.hash_array(texts, hash_key=_KEY, categorize=False), dtype=np.uint64)
    if pa.types.is_floating(array.type):
        floats, rest = array.to_numpy(zero_copy_only=False) + 0.0, np.uint64(0)
        floats = np.where(np.isnan(floats), np.nan, floats)
    else:
        integers = array.cast(pa.int64()).to_numpy(zero_copy_only=False)
        floats = integers.astype(np.float64)
        rest = (np.clip(floats, -(2.0**63), 2.0**63 - 1024).astype(np.int64) - integers).astype(np.uint64)
    return mix(np.ascontiguousarray(floats, dtype=np.float64).view(np.uint64)) ^ rest


def hash_column(column: Any) -> Hashes:
    """One hash per row of a raw column; columns without single values (lists, structs) count as null."""
    array = values.plain(column)
    if array is None:
        return np.full(len(column), _NULL)
    kinds, places = values.distinct(array)
    return np.append(hash_values(kinds), _NULL)[places]


def hash_rows(block: Any, columns: Sequence[str], seed: int = 0) -> Hashes:
    """One hash per row of a raw block over the named columns, in their order."""
    return hash_rows_and_part(block, columns, columns, seed)[1]


def hash_rows_and_part(block: Any, columns: Sequence[str], part: Sequence[str], seed: int) -> tuple[Hashes, Hashes]:
    """One hash per row over the named columns, and one over a part of them (in the same order) with a seed.

    A column is hashed once for both, which is most of the work.
    """
    present, some = set(block.column_names), set(part)
    whole, partly = np.zeros(block.num_rows, np.uint64), np.full(block.num_rows, np.uint64(seed % 2**64))
    for name in columns:
        if name not in present:
            raise DataError(f"The table has no column {name!r}.", "Give a table with the columns of the first one.")
        hashes = hash_column(block.column(name))
        whole = mix(whole * _STEP + hashes)
        if name in some:
            partly = mix(partly * _STEP + hashes)
    return mix(whole), mix(partly)
