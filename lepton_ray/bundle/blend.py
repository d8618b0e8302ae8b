"""The models of a bundle as one: members that read the same clean rows, averaged by their shares.

A bundle with one model is a blend of one. It knows nothing about how members were chosen or where they are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lepton_ray.features.chain import View, for_schema
from lepton_ray.features.matrix import Floats
from lepton_ray.features.step import State
from lepton_ray.models.family import Model
from lepton_ray.table.schema import Problem, Schema


@dataclass(frozen=True, slots=True)
class Member:
    """One model and what it takes to feed it and to fit it again.

    Attributes:
        family: the name that the registry finds it by.
        share: its part of the blend; the shares of a blend sum to 1.
    """

    family: str
    view: View
    config: Mapping[str, Any]
    model: Model
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Blend:
    """Members over the same rows.

    Attributes:
        states: of the features' step, one for each view that a member has.
        temperature: what log probabilities are divided by; 1 leaves them as they are.
    """

    schema: Schema
    problem: Problem
    members: tuple[Member, ...]
    states: Mapping[View, State]
    temperature: float = 1.0

    def predict(self, clean: pa.Table) -> Floats:
        """Return probabilities (n, classes) or values (n,) for a block that the plan has cleaned.

        Raises:
            ValueError: a member answers with another shape.
        """
        seen = {view: for_schema(self.schema, view).apply(state, clean) for view, state in self.states.items()}
        parts = [np.asarray(one.model.predict(seen[one.view]), dtype=np.float64) for one in self.members]
        expected = (clean.num_rows, len(self.problem.classes)) if self.problem.classes else (clean.num_rows,)
        for one, part in zip(self.members, parts, strict=True):
            if part.shape != expected:
                raise ValueError(f"the model of {one.family} answered with shape {part.shape}, not {expected}")
        return self.blended(parts)

    def blended(self, parts: Sequence[Floats]) -> Floats:
        """Return what the blend says where its members, in their order, say this."""
        whole = averaged(parts, [one.share for one in self.members])
        return tempered(whole, self.temperature) if self.problem.classes else whole

    def importances(self) -> dict[str, float] | None:
        """The members' shares of effect by feature, weighted by their own; None where no member knows any."""
        total: dict[str, float] = {}
        for one in self.members:
            for name, share in (one.model.importances() or {}).items():
                total[name] = total.get(name, 0.0) + one.share * share
        whole = sum(total.values())
        return {name: share / whole for name, share in total.items()} if whole > 0 else None


def averaged(parts: Sequence[Floats], shares: Sequence[float]) -> Floats:
    """The weighted mean, in the order given; one part alone stays as it is to the last bit."""
    if len(parts) == 1:
        return parts[0]
    total = np.zeros_like(parts[0])
    for part, share in zip(parts, shares, strict=True):
        total += share * part
    return total


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Temperature scaling (Guo et al. 2017, arXiv:1706.04599): p ** (1 / T), each row summing to 1 again."""
    if temperature == 1.0:
        return probabilities
    logs = np.log(np.clip(probabilities, 1e-300, None)) / temperature
    raised = np.exp(logs - logs.max(axis=1, keepdims=True)) if len(logs) else logs
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
