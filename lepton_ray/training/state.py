"""All that training needs to go on where it was, as named tensors and JSON values. It knows nothing about files.

Names of tensors: ``model/NAME``, ``optimizer/PARAMETER/KEY``, ``average/NAME``, ``best/NAME``, ``random/RANK`` and
``cuda/RANK``. Importing this imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lepton_ray.errors import BundleError
from lepton_ray.training.peers import Peers


@dataclass(frozen=True, slots=True)
class State:
    """A moment of training, on the CPU, shared with nobody.

    Attributes:
        facts: JSON values: ``epoch`` (from 1) and ``step`` (in it, taken already), and what else the loop counts.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def part(self, head: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``head/``, without it."""
        return {name.removeprefix(f"{head}/"): t for name, t in self.tensors.items() if name.startswith(f"{head}/")}

    def weights(self) -> dict[str, Tensor]:
        """Return the model that training would end with: the best judged one, else the average, else the latest."""
        return self.part("best") or self.part("model") | self.part("average")


def copied(tensors: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    """Return copies on the CPU, which change no more, under ``head/``."""
    return {
        f"{head}/{name}": tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def optimizer_parts(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an optimizer's state: its tensors, and as JSON its other values and the options of its groups."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    values: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors |= copied({f"{index}/{key}": value}, "optimizer")
            else:
                values.setdefault(str(index), {})[key] = value
    groups = [{k: _plain(v) for k, v in group.items() if k != "params"} for group in state["param_groups"]]
    return tensors, {"values": values, "groups": groups}


def load_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Give an optimizer of the same parameters what ``optimizer_parts`` took.

    Raises:
        BundleError: it has other groups, or moments of other shapes.
    """
    now = optimizer.state_dict()
    facts = state.facts["optimizer"]
    if len(facts["groups"]) != len(now["param_groups"]):
        raise _foreign(f"{len(facts['groups'])} groups of parameters, and the optimizer {len(now['param_groups'])}")
    entries: dict[int, dict[str, Any]] = {int(index): dict(held) for index, held in facts["values"].items()}
    for name, tensor in state.part("optimizer").items():
        parameter, _, key = name.partition("/")
        entries.setdefault(int(parameter), {})[key] = tensor.clone()  # the optimizer changes what it is given
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, held in entries.items():
        shapes = [tuple(t.shape) for t in held.values() if isinstance(t, Tensor) and t.dim()]
        if index >= len(parameters) or any(shape != tuple(parameters[index].shape) for shape in shapes):
            raise _foreign(f"moments of parameter {index} that do not fit the optimizer")
    groups = [
        held | {key: _like(held[key], value) for key, value in group.items() if key in held}
        for held, group in zip(now["param_groups"], facts["groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def load_model(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a model these parameters and buffers.

    Raises:
        BundleError: they are of another architecture; it names a tensor that differs.
    """
    mine = model.state_dict()
    for name in sorted(mine.keys() | tensors.keys()):
        there, here = (tuple(of[name].shape) if name in of else None for of in (tensors, mine))
        if there != here:
            raise _foreign(f"{name} {_shape(there)}, and the model {_shape(here)}")
    model.load_state_dict(dict(tensors))


def random_parts(peers: Peers, device: torch.device) -> dict[str, Tensor]:
    """Return the state of every worker's generators."""
    found = {f"random/{rank}": held for rank, held in enumerate(peers.gathered(torch.get_rng_state()))}
    if device.type == "cuda":
        held = peers.gathered(torch.cuda.get_rng_state(device))
        found |= {f"cuda/{rank}": one for rank, one in enumerate(held)}
    return found


def load_random(state: State, peers: Peers, device: torch.device) -> None:
    """Draw what would have been drawn next; a worker that was not there before keeps its own generator."""
    mine = f"random/{peers.rank}"
    if mine in state.tensors:
        torch.set_rng_state(state.tensors[mine])
    if device.type == "cuda" and f"cuda/{peers.rank}" in state.tensors:
        torch.cuda.set_rng_state(state.tensors[f"cuda/{peers.rank}"], device)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else list(value) if isinstance(value, tuple) else value


def _like(held: Any, value: Any) -> Any:
    """Return a JSON value as the kind that an optimizer holds."""
    if isinstance(held, Tensor):
        return torch.as_tensor(value, dtype=held.dtype, device=held.device)
    return tuple(value) if isinstance(held, tuple) else value


def _shape(shape: tuple[int, ...] | None) -> str:
    return "not at all" if shape is None else f"of shape {shape}"


def _foreign(differs: str) -> BundleError:
    return BundleError(
        f"The checkpoint is of another architecture: it has {differs}.",
        "Go on with the model that it is of, or name another folder.",
    )
