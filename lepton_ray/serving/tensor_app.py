"""An ASGI app around a bundle of tensors. It knows HTTP, and nothing about Ray, torch or scikit-learn.

A wrong request is answered with a 4xx and ``{"error": …}`` that names the field. Of a bundle of tensors there are no
pages: ``GET /`` answers with its inputs and an example as JSON.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from starlette.routing import Route
from starlette.types import ASGIApp

from lepton_ray.bundle.tensors import Input, TensorBundle
from lepton_ray.errors import DataError
from lepton_ray.serving.calls import works_of
from lepton_ray.serving.guard import Guard
from lepton_ray.serving.http import answered, app_of, checked_name, constant, protocol_routes
from lepton_ray.serving.metrics import Metrics
from lepton_ray.serving.schema import (
    Inference,
    Refusal,
    check_count,
    dump,
    encode_rows,
    inferred,
    named_tensors,
    parse_json,
    refuse_strangers,
    wanted_outputs,
)
from lepton_ray.serving.standing import UNKNOWN, Standing


def build_tensor_app(
    bundle: TensorBundle, name: str = "model", standing: Standing = UNKNOWN, guard: Guard | None = None
) -> ASGIApp:
    """The app that serves ``bundle`` under the model name ``name``, behind this guard or one with the usual limits."""
    guard = guard or Guard()
    endpoint = _Endpoint(bundle, checked_name(name), Metrics(name, bundle.id, standing), guard.limits.rows)
    calls = works_of(endpoint.metadata(), endpoint.infer)
    return app_of(endpoint.routes(), endpoint.metrics, guide="/", guard=guard, calls=calls)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    bundle: TensorBundle
    name: str
    metrics: Metrics
    rows: int

    def routes(self) -> list[Route]:
        routes = protocol_routes(self.metadata(), self.metrics, predict=answered(self.predict), infer=self.infer)
        about = self.metadata() | {"example": {"rows": [dict(self.bundle.manifest.example)]}}
        about |= {"routes": [route.path for route in routes]}
        return [Route("/", constant(dump(about))), *routes]

    def metadata(self) -> dict[str, object]:
        value = "BYTES" if self.bundle.problem.classes else "FP64"
        inputs = [{"name": i.name, "datatype": i.datatype, "shape": [-1, *i.shape]} for i in self._inputs]
        outputs = [
            {"name": output, "datatype": value if output == "prediction" else "FP64", "shape": [-1]}
            for output in self.bundle.manifest.outputs
        ]
        about = {"name": self.name, "versions": [self.bundle.id[:12]], "platform": "lepton_ray"}
        return {**about, "inputs": inputs, "outputs": outputs}

    def predict(self, body: bytes) -> bytes:
        """Answer ``[row, …]``, ``{"rows": [row, …]}`` or one row, each an object with a value for each input."""
        given = parse_json(body)
        if isinstance(given, dict):
            given = given["rows"] if isinstance(given.get("rows"), list) else [given]
        if not isinstance(given, list):
            raise Refusal(422, 'The body is neither a list of rows, nor {"rows": […]}, nor one row.')
        check_count(len(given), "`rows`", self.rows)
        arrays = {
            one.name: _array(one, [self._cell(row, one, n) for n, row in enumerate(given)]) for one in self._inputs
        }
        return encode_rows(self._answer(arrays), self.name, self.bundle.id)

    def infer(self, given: Any) -> dict[str, Any]:
        """Answer an Open Inference Protocol v2 request with one tensor per input."""
        if not isinstance(given, dict):
            raise Refusal(422, "The body is not an object with `inputs`.")
        request_id = given.get("id")
        if request_id is not None and not isinstance(request_id, str):
            raise Refusal(422, "`id` is not a string.")
        tensors = named_tensors(given.get("inputs"))
        refuse_strangers(tensors, [one.name for one in self._inputs])
        arrays = {one.name: _decoded(one, tensors, self.rows) for one in self._inputs}
        outputs = wanted_outputs(given.get("outputs"), self.bundle.manifest.outputs)
        answer = self._answer(arrays)
        return inferred(answer, Inference(answer, request_id, outputs), self.name, self.bundle.id[:12])

    @property
    def _inputs(self) -> tuple[Input, ...]:
        return self.bundle.manifest.inputs

    def _cell(self, row: Any, wanted: Input, number: int) -> Any:
        if not isinstance(row, dict):
            if len(self._inputs) == 1 and isinstance(row, list):
                return row
            raise Refusal(422, f"rows[{number}] is not an object with one value per input.")
        if wanted.name not in row:
            raise Refusal(422, f"rows[{number}] lacks the input `{wanted.name}`.")
        return row[wanted.name]

    def _answer(self, arrays: Mapping[str, Any]) -> pa.Table:
        try:
            answer = self.bundle.predict(arrays)
        except (IndexError, RuntimeError, ValueError) as fault:  # of torch or scikit-learn, about these very values
            raise Refusal(422, "The model cannot answer these rows: a value is not one that it knows.") from fault
        self.metrics.add_rows(answer.num_rows)
        return answer


def _array(wanted: Input, rows: Any) -> Any:
    """Rows of JSON values as an array; null is a number that is not known, where the input is of numbers with such."""
    if wanted.datatype == "BYTES":
        for number, cell in enumerate(rows):
            if not (cell is None or isinstance(cell, str)):
                raise Refusal(422, f"rows[{number}], input `{wanted.name}`: this is not a text.")
        return np.array(rows, dtype=object)
    whole = wanted.datatype in ("INT64", "BOOL")
    try:
        found = np.array(rows, dtype=None if whole else np.float64)
    except (ValueError, TypeError):
        found = np.empty(0, dtype=object)
    kinds = {"INT64": "i", "BOOL": "b"}.get(wanted.datatype, "f")
    if found.dtype.kind != kinds:
        raise Refusal(422, f"Input `{wanted.name}`: these are not {wanted.datatype} of shape {list(wanted.shape)}.")
    try:
        return wanted.array(found)
    except DataError as fault:
        raise Refusal(422, str(fault)) from None


def _decoded(wanted: Input, tensors: Mapping[str, tuple[str, Mapping[str, Any]]], most: int) -> Any:
    if wanted.name not in tensors:
        raise Refusal(422, f"`inputs` lacks a tensor for the input `{wanted.name}`.")
    where, tensor = tensors[wanted.name]
    shape, data = tensor.get("shape"), tensor.get("data")
    if tensor.get("datatype") != wanted.datatype:
        raise Refusal(422, f"{where}: its datatype must be {wanted.datatype}.")
    if not isinstance(shape, list) or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise Refusal(422, f"{where}: `shape` is not a list of sizes, the rows first.")
    if not isinstance(data, list):
        raise Refusal(422, f"{where}: `data` is not a list.")
    check_count(shape[0], where, most)
    nested = bool(data) and isinstance(data[0], list)
    if nested or len(shape) == 1:
        found = _array(wanted, data)
    else:
        flat = _array(Input(wanted.name, wanted.datatype), data)
        if len(flat) != math.prod(shape):
            raise Refusal(422, f"{where}: `data` holds {len(flat)} values, `shape` says {math.prod(shape)}.")
        found = flat.reshape(shape)
    if list(found.shape) != shape:
        raise Refusal(422, f"{where}: `data` is of shape {list(found.shape)}, `shape` says {shape}.")
    return found
