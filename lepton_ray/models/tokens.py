"""A tokenizer that is learned from the texts of a table: byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909).

Words are cut as BERT cuts them: small letters, no accents, a Chinese character a word of its own. The library is
``tokenizers``; what was learned is its own JSON. It knows nothing about networks or labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from lepton_ray.features.matrix import Matrix

_NONE, _UNKNOWN = "[PAD]", "[UNK]"
_SELDOM, _ALPHABET = 2, 4000
_COVERED = 0.95
"""Of the training texts: what of the others is beyond the length that these have is not read."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """How texts become numbers: ``length`` of them for each row, 0 after its end."""

    tokenizer: Tokenizer
    length: int

    @classmethod
    def learned(cls, texts: Sequence[str], *, most: int, longest: int) -> Tokens:
        """Learn at most about ``most`` tokens, and how long rows are, ``longest`` at most."""
        tokenizer = Tokenizer(BPE(unk_token=_UNKNOWN, fuse_unk=True))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.train_from_iterator(
            texts,
            BpeTrainer(
                vocab_size=most,
                min_frequency=_SELDOM,
                limit_alphabet=min(_ALPHABET, most),
                special_tokens=[_NONE, _UNKNOWN],
                show_progress=False,
            ),
        )
        lengths = [len(one.ids) for one in tokenizer.encode_batch(list(texts))]
        usual = int(np.quantile(lengths, _COVERED)) if lengths else 1
        return cls(tokenizer, min(max(usual, 8), longest))

    @classmethod
    def from_json(cls, written: str, length: int) -> Tokens:
        return cls(Tokenizer.from_str(written), length)

    def to_json(self) -> str:
        return str(self.tokenizer.to_str())

    def __len__(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def numbers(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return (n, length)."""
        found = np.zeros((len(texts), self.length), np.int64)
        for row, one in enumerate(self.tokenizer.encode_batch(list(texts))):
            some = one.ids[: self.length]
            found[row, : len(some)] = some
        return found


def texts_of(X: Matrix) -> list[str]:
    """Return one text for each row, its columns after one another; empty where there is none."""
    if X.texts is None:
        return [""] * len(X)
    columns = [pc.fill_null(column, "").to_pylist() for column in X.texts.columns]
    return ["\n".join(row) for row in zip(*columns, strict=True)]
