"""Hashed n-grams of words and characters, for many short texts at once. It knows nothing about weights or models.

The texts are laid end to end as an array of code points, and every n-gram is hashed by whole-array arithmetic modulo
2**64: no Python loop over tokens, nothing learned, the same hash on every machine. A Chinese, Japanese or Korean
character is a word of its own, so texts without spaces have words too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

BUCKETS = 1 << 22
LONGEST = 4000  # characters of a text that are read
_GAP, _MARK, _WORD, _SINGLE = range(4)
_BASE, _PAIR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_MIX_A, _MIX_B = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_POWERS = np.concatenate([np.ones(1, np.uint64), np.cumprod(np.full(LONGEST + 2, _BASE))])
_SINGLES = ((0x2E80, 0xA4CF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


@dataclass(frozen=True, slots=True)
class Letters:
    """Many texts end to end, each with a gap before and after it."""

    codes: NDArray[np.uint32]
    texts: NDArray[np.int64]  # which text each code point belongs to
    kinds: NDArray[np.uint8]  # gap, mark, part of a word, or a word by itself
    n_texts: int


def letters(column: pa.ChunkedArray | pa.Array) -> Letters:
    """Fold case and width, and lay the texts end to end; a missing text is an empty one."""
    folded = pc.utf8_lower(pc.utf8_normalize(pc.fill_null(column, ""), "NFKC"))
    padded = [f" {text[:LONGEST]} " for text in folded.to_pylist()]
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), dtype="<u4")
    kind_of = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.uint8)
    for code in np.unique(codes).tolist():
        kind_of[code] = _kind(code)
    return Letters(codes, np.repeat(np.arange(len(padded)), lengths), kind_of[codes], len(padded))


def word_grams(text: Letters) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (text, bucket) of every word and every pair of neighbouring words."""
    kinds = text.kinds
    before = np.concatenate([np.zeros(1, np.uint8), kinds[:-1]])
    starting = (kinds == _SINGLE) | ((kinds == _WORD) & (before != _WORD))
    inside = np.flatnonzero(kinds >= _WORD)
    if not len(inside):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    starts = np.flatnonzero(starting[inside])
    owner = np.cumsum(starting[inside]) - 1
    place = np.arange(len(inside)) - starts[owner]
    words = np.add.reduceat(_mixed(text.codes[inside].astype(np.uint64)) * _POWERS[place], starts)
    texts = text.texts[inside[starts]]
    same = texts[1:] == texts[:-1]
    pairs = (words[:-1] * _PAIR + words[1:])[same]
    return np.concatenate([texts, texts[1:][same]]), _buckets(np.concatenate([words, pairs]))


def character_grams(text: Letters, shortest: int, longest: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (text, bucket) of every run of ``shortest`` (3 or more) to ``longest`` characters without a gap inside."""
    mixed = _mixed(text.codes.astype(np.uint64))
    gaps = np.concatenate([np.zeros(1, np.int64), np.cumsum(text.kinds == _GAP)])
    texts, hashes = [], []
    for n in range(shortest, longest + 1):
        windows = max(len(mixed) - n + 1, 0)
        total = np.full(windows, n, np.uint64) * _PAIR
        for place in range(n):
            total += mixed[place : place + windows] * _POWERS[place]
        ends = np.arange(windows) + n - 1
        whole = gaps[ends] - gaps[np.arange(windows) + 1] == 0
        texts.append(text.texts[:windows][whole])
        hashes.append(total[whole])
    return np.concatenate(texts), _buckets(np.concatenate(hashes))


def _kind(code: int) -> int:
    letter = chr(code)
    if not letter.isalnum():
        return _GAP if letter.isspace() else _MARK
    return _SINGLE if any(low <= code <= high for low, high in _SINGLES) else _WORD


def _mixed(values: Hashes) -> Hashes:
    values = (values ^ (values >> np.uint64(33))) * _MIX_A
    values = (values ^ (values >> np.uint64(33))) * _MIX_B
    return values ^ (values >> np.uint64(33))


def _buckets(hashes: Hashes) -> NDArray[np.int64]:
    return (_mixed(hashes) & np.uint64(BUCKETS - 1)).astype(np.int64)
