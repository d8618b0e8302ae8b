"""What a model's scores mean: values on a scale, or the odds of the classes seen in training. It knows no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.graph import Wire
from lepton_ray.features.matrix import Floats
from lepton_ray.models.blocks import by_blocks
from lepton_ray.models.drawing import among_all, softmax
from lepton_ray.models.family import Batch
from lepton_ray.models.target import Scale
from lepton_ray.table.schema import Problem


@dataclass(frozen=True, slots=True)
class Meaning:
    """How scores (n, k) become predictions, and labels what is learned.

    Attributes:
        scale: how values come back from scores (n, 1); None for classes.
        present: the codes of the classes seen in training, ascending; the others get probability 0. Empty for values.
            There is a score for each, or a single one for the second of two.
        n_classes: of the problem; 0 for values.
    """

    scale: Scale | None
    present: tuple[int, ...] = ()
    n_classes: int = 0

    @classmethod
    def of(cls, batch: Batch, problem: Problem, scale: Scale | None) -> Meaning:
        """Return what scores will mean that are learned from these rows, values on this scale."""
        if scale is not None:
            return cls(scale)
        return cls(None, tuple(np.unique(batch.y).tolist()), len(problem.classes))

    @property
    def n_scores(self) -> int:
        return len(self.present) if len(self.present) > 2 else 1

    def target(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return what is learned: scaled values, or places among the classes that are present."""
        if self.scale is not None:
            return self.scale.there(np.asarray(y, dtype=np.float64))
        return np.searchsorted(self.present, y)

    def prediction(self, scores: Floats) -> Floats:
        """Return values (n,) or probabilities (n, classes of the problem)."""
        if self.scale is not None:
            return self.scale.back(scores[:, 0])
        said = np.zeros((len(scores), self.n_classes))
        if len(scores):
            said[:, self.present] = by_blocks(_softmax, scores)
        return said

    def drawn(self, scores: Wire) -> Wire:
        """Draw ``prediction``."""
        if self.scale is not None:
            return self.scale.drawn_back(scores)
        return among_all(softmax(scores, self.n_scores), self.present, self.n_classes)

    def judgeable(self, valid: Batch | None) -> Batch | None:
        """Return the rows that weigh something and whose class is present; None where there is none."""
        if valid is None:
            return None
        rows = valid.counted()
        if self.present and not np.all(np.isin(rows.y, self.present)):
            kept = np.isin(rows.y, self.present)
            rows = Batch(rows.X.rows(kept), rows.y[kept], None if rows.weight is None else rows.weight[kept])
        return rows if len(rows) else None

    def facts(self) -> dict[str, Any]:
        scale = None if self.scale is None else self.scale.to_dict()
        return {"scale": scale, "present": list(self.present), "n_classes": self.n_classes}

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Meaning:
        scale = None if facts["scale"] is None else Scale(**facts["scale"])
        return cls(scale, tuple(facts["present"]), facts["n_classes"])


def _softmax(scores: Floats) -> Floats:
    if scores.shape[1] == 1:
        scores = np.hstack([np.zeros_like(scores), scores])
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = odds / odds.sum(axis=1, keepdims=True)
    return shares
