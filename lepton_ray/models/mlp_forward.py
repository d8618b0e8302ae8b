"""The fitted network in numpy: ``mlp_network.Network`` in evaluation mode, so that predicting needs no torch.

It knows nothing about fitting, files or what the scores mean. A test holds both to the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.graph import Type, Wire, beside
from lepton_ray.models.mlp_rows import Inputs

Arrays = dict[str, NDArray[Any]]
_Cells = NDArray[np.float32]


def front(arrays: Arrays, inputs: Inputs) -> _Cells:
    """Return what the first layer reads, (n, width): each number with its waves, plain inputs, embedded categories."""
    z = inputs.numbers
    waves = np.cos(z[:, :, None] * arrays["wave_rates"] + arrays["wave_starts"])
    mixed = np.matmul(waves.transpose(1, 0, 2), arrays["wave_mixes"]).transpose(1, 0, 2) + arrays["wave_shifts"]
    known = arrays["levels"][inputs.codes]
    n = len(z)
    return np.hstack([z, mixed.reshape(n, -1), inputs.plain, known.reshape(n, -1)])


def scores(arrays: Arrays, bend: str, inputs: Inputs) -> NDArray[np.float64]:
    """Return (n, outputs), worked out in float32."""
    rows = front(arrays, inputs)
    last = sum(name.startswith("weight_") for name in arrays) - 1
    for index in range(last):
        rows = _BENDS[bend](rows @ arrays[f"weight_{index}"] + arrays[f"bias_{index}"])
    return np.asarray(rows @ arrays[f"weight_{last}"] + arrays[f"bias_{last}"], dtype=np.float64)


def drawn_scores(arrays: Arrays, bend: str, numbers: Wire | None, plain: Wire | None, codes: Wire | None) -> Wire:
    """Draw ``scores`` of these inputs, of which at least one is there."""
    parts = [] if numbers is None else [numbers, _drawn_waves(arrays, numbers)]
    parts += [] if plain is None else [plain]
    if codes is not None:
        known = codes.graph.add("Gather", arrays["levels"], codes, axis=0)
        parts.append(known.apply("Flatten", axis=1))
    rows = beside(parts)
    last = sum(name.startswith("weight_") for name in arrays) - 1
    for index in range(last + 1):
        rows = rows @ arrays[f"weight_{index}"] + arrays[f"bias_{index}"]
        if index < last:
            rows = _DRAWN_BENDS[bend](rows)
    return rows.cast(Type.DOUBLE)


def _drawn_waves(arrays: Arrays, numbers: Wire) -> Wire:
    """Draw the mixtures of waves, (n, numbers x mixtures): one matrix product for each number."""
    each = numbers.apply("Unsqueeze", np.array([2]))
    waves = (each * arrays["wave_rates"] + arrays["wave_starts"]).apply("Cos").apply("Transpose", perm=[1, 0, 2])
    mixed = (waves @ arrays["wave_mixes"]).apply("Transpose", perm=[1, 0, 2]) + arrays["wave_shifts"]
    return mixed.apply("Flatten", axis=1)


def effects(arrays: Arrays, inputs: Inputs, n_parts: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return how much each number, plain input and category moves the first layer over these rows: not a share yet."""
    spread = front(arrays, inputs).astype(np.float64).std(axis=0)
    power = (spread * np.linalg.norm(arrays["weight_0"], axis=1)) ** 2
    numbers, plain, categories = n_parts
    each_number, each_code = arrays["wave_shifts"].shape[1], arrays["levels"].shape[1]
    straight, waves, flat, known = np.split(power, np.cumsum([numbers, numbers * each_number, plain]))
    straight = straight + waves.reshape(numbers, each_number).sum(axis=1)
    moved: NDArray[np.float64] = np.concatenate([straight, flat, known.reshape(categories, each_code).sum(axis=1)])
    return np.sqrt(moved)


def _selu(rows: _Cells) -> _Cells:
    bent: _Cells = np.float32(1.0507009873554805) * np.where(
        rows > 0, rows, np.float32(1.6732632423543772) * np.expm1(np.minimum(rows, 0))
    )
    return bent


def _mish(rows: _Cells) -> _Cells:
    """x tanh(log(1 + e^x)), without the logarithm; beyond 20 it is x."""
    grown: _Cells = np.exp(np.minimum(rows, np.float32(20.0)))
    grown = grown * (grown + np.float32(2.0))
    bent: _Cells = rows * (grown / (grown + np.float32(2.0)))
    return bent


def _drawn_selu(rows: Wire) -> Wire:
    return rows.apply("Selu", alpha=1.6732632423543772, gamma=1.0507009873554805)


def _drawn_mish(rows: Wire) -> Wire:
    two, bound = np.float32(2.0), np.float32(20.0)
    grown = rows.apply("Min", bound).apply("Exp")
    grown = grown * (grown + two)
    return rows * (grown / (grown + two))


_BENDS = {"selu": _selu, "mish": _mish}
_DRAWN_BENDS = {"selu": _drawn_selu, "mish": _drawn_mish}
