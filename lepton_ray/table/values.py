"""Raw Arrow columns made plain, and cells made canonical text. Knows nothing about plans, targets or files.

A *plain* array has one of five types: string, bool, int64, float64 (NaN is null), timestamp("us") without a zone.
A *canonical* text is the same for every way to write one category: ``1``, ``1.0`` and `` 1 ``; ``true`` and ``True``.
"""

import functools
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MISSING_WORDS = ("", "na", "n/a", "#n/a", "n.a.", "nan", "nil", "none", "null", "?", "-", "--", ".")
MISSING_TARGET_WORDS = ("", "na", "n/a", "#n/a", "nan", "null", "?")
"""A class may well be called None, so a target knows fewer words for missing."""

_TIMESTAMP = pa.timestamp("us")
_EXACT_INTEGERS = 2.0**53
_WHOLE = r"^([+-]?[0-9]+)\.0+$"


def plain(column: Any) -> Any:
    """A chunked or whole column as one plain array; None if its type holds no single value (lists, structs, bytes)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary_decode())
    if kind == pa.string() or kind == pa.int64() or pa.types.is_boolean(kind):
        return array
    if kind == pa.float64():
        return pc.if_else(pc.is_nan(array), None, array)
    if pa.types.is_null(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return array.cast(pa.string())
    if pa.types.is_uint64(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return plain(array.cast(pa.float64(), safe=False))
    if pa.types.is_integer(kind):
        return array.cast(pa.int64())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return array.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False).cast(_TIMESTAMP)
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return _seconds(array)
    return None


def without_views(table: Any) -> Any:
    """A table whose texts and bytes are no views, also inside of lists and objects: Arrow cannot filter views."""
    schema = pa.schema([field.with_type(_plain_type(field.type)) for field in table.schema])
    return table if schema == table.schema else table.cast(schema)


def _plain_type(kind: Any) -> Any:
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return (pa.list_ if pa.types.is_list(kind) else pa.large_list)(_plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind])
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _plain_type(kind.value_type), kind.ordered)
    return kind


def _seconds(array: Any) -> Any:
    """Times of day and durations as seconds."""
    per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[array.type.unit]
    whole = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())
    return pc.divide(whole.cast(pa.float64(), safe=False), per_second)


def distinct(array: Any) -> tuple[Any, npt.NDArray[np.int64]]:
    """The distinct non-null values of a plain array, and for each row its place among them (-1: null)."""
    encoded = array.dictionary_encode()
    places = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return encoded.dictionary, places.astype(np.int64, copy=False)


def spread(values: Any, places: npt.NDArray[np.int64]) -> Any:
    """The inverse of ``distinct``: one value per row, null where the place is -1."""
    return values.take(pa.array(places, mask=places < 0))


def counts(places: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """How many rows have each distinct value."""
    return np.bincount(places + 1, minlength=size + 1)[1:].astype(np.int64)


def trimmed(texts: Any) -> Any:
    """Texts without the white space around them."""
    return pc.utf8_trim_whitespace(texts)


def is_word(texts: Any, words: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Which trimmed texts are one of the (lower-case) words, in any case."""
    return _truth(pc.is_in(pc.utf8_lower(texts), value_set=_word_set(words)))


@functools.lru_cache(maxsize=64)
def _word_set(words: tuple[str, ...]) -> Any:
    return pa.array(words, type=pa.string())


def matches(texts: Any, pattern: str) -> npt.NDArray[np.bool_]:
    """Which texts match a regular expression (RE2); null does not."""
    return _truth(pc.match_substring_regex(texts, pattern))


def _truth(flags: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(flags, False).to_numpy(zero_copy_only=False), dtype=bool)


def as_texts(values: Any) -> Any:
    """The values of a plain array as canonical texts."""
    if pa.types.is_string(values.type):
        return canonical(trimmed(values))
    if pa.types.is_boolean(values.type):
        return pc.if_else(values, "True", "False")
    if pa.types.is_timestamp(values.type):
        return pc.replace_substring_regex(values.cast(pa.string()), r"( 00:00:00)?\.0+$", "")
    if pa.types.is_floating(values.type):
        whole = pc.and_(pc.equal(pc.trunc(values), values), pc.less(pc.abs(values), _EXACT_INTEGERS))
        integers = pc.if_else(whole, values, 0.0).cast(pa.int64()).cast(pa.string())
        return pc.if_else(whole, integers, values.cast(pa.string()))
    return values.cast(pa.string())


def canonical(texts: Any) -> Any:
    """Trimmed texts with whole numbers written without ``.0`` and booleans as ``True`` and ``False``."""
    if matches(texts, r"\.0+$").any():
        texts = pc.replace_substring_regex(texts, _WHOLE, r"\1")
    lower = pc.utf8_lower(texts)
    for word, name in (("true", "True"), ("false", "False")):
        same = pc.equal(lower, word)
        if pc.any(same).as_py():
            texts = pc.if_else(same, name, texts)
    return texts


def spellings(text: str) -> tuple[str, ...]:
    """Other ways to write a canonical text: what ``canonical`` makes it of, as far as these can be listed."""
    if text in ("True", "False"):
        return (text.lower(), text.upper())
    return (f"{text}.0",) if re.fullmatch(r"[+-]?[0-9]+", text) else ()


def any_case(word: str) -> tuple[str, ...]:
    """A word in small, large and mixed letters: every mixture where these are few, else the usual ones."""
    if sum(letter.isalpha() for letter in word) > 5:
        return tuple(dict.fromkeys((word.lower(), word.upper(), word.capitalize(), word.title())))
    ways: tuple[str, ...] = ("",)
    for letter in word.lower():
        ways = tuple(way + case for way in ways for case in dict.fromkeys((letter, letter.upper())))
    return ways
