"""What may stand in a request, and how an answer is written: Open Inference Protocol v2, and plain JSON rows.

Knows nothing about HTTP servers or models: bytes in, one raw block out; one prediction table in, bytes out.
Whatever is wrong is a ``Refusal`` that names the field.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.bundle.contributions import Explanation
from lepton_ray.bundle.rows import cells_array, rows_block
from lepton_ray.errors import DataError
from lepton_ray.serving.limits import Limits
from lepton_ray.table.cleaning import CleaningPlan
from lepton_ray.table.schema import Column, Kind, Schema
from lepton_ray.table.values import is_word

MAX_ROWS = Limits().rows
MAX_EXPLAINED = 32
"""An explanation asks the model about 1,000 times."""

_NUMBERS = ("FP64", "FP32", "FP16", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8")
_DATATYPES = {
    Kind.NUMBER: (*_NUMBERS, "BYTES"),
    Kind.CATEGORY: ("BYTES", "BOOL", *_NUMBERS),
    Kind.TEXT: ("BYTES",),
    Kind.DATE: ("BYTES",),
}
_INT_RANGES = {
    f"{sign}INT{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}


class Refusal(Exception):
    """A request that is answered with ``status`` and ``{"error": what}``."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status
        self.what = what

    def __reduce__(self) -> tuple[type["Refusal"], tuple[int, str]]:
        return type(self), (self.status, self.what)


@dataclass(frozen=True, slots=True)
class Inference:
    """One v2 infer request: the raw block, the id to echo, and the outputs asked for (empty: all)."""

    block: pa.Table
    id: str | None
    outputs: tuple[str, ...]


def parse_json(body: bytes) -> Any:
    """Read a request's body."""
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant, object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise Refusal(400, "The body is not UTF-8.") from None
    except RecursionError:
        raise Refusal(400, "The body is nested too deeply.") from None
    except ValueError as error:
        detail = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Refusal(400, f"The body is not JSON{detail}.") from None


def decode_rows(value: Any, schema: Schema, most: int = MAX_ROWS) -> pa.Table:
    """Read ``[row, …]``, ``{"rows": [row, …]}`` or one row; a row is an object with a value per column."""
    if isinstance(value, dict):
        value = value["rows"] if isinstance(value.get("rows"), list) else [value]
    if not isinstance(value, list):
        raise Refusal(422, 'The body is neither a list of rows, nor {"rows": […]}, nor one row.')
    check_count(len(value), "`rows`", most)
    for number, row in enumerate(value):
        if not isinstance(row, dict):
            raise Refusal(422, f"rows[{number}] is not an object with one value per column.")
    try:
        return rows_block(value, schema)
    except DataError as error:
        raise Refusal(422, str(error)) from None


def decode_infer(value: Any, schema: Schema, outputs: tuple[str, ...], most: int = MAX_ROWS) -> Inference:
    """Read an Open Inference Protocol v2 request with one tensor per column, or one matrix of all of them."""
    if not isinstance(value, dict):
        raise Refusal(422, "The body is not an object with `inputs`.")
    request_id = value.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise Refusal(422, "`id` is not a string.")
    tensors = _by_column(named_tensors(value.get("inputs")), schema, most)
    refuse_strangers(tensors, schema.names)
    columns: dict[str, pa.Array] = {}
    rows = -1
    for column in schema.columns:
        if column.name not in tensors:
            raise Refusal(422, f"`inputs` lacks a tensor for the column `{column.name}` ({column.kind.value}).")
        where, tensor = tensors[column.name]
        columns[column.name] = _decode_tensor(tensor, column, where, most)
        if rows not in (-1, len(columns[column.name])):
            raise Refusal(422, f"{where} holds {len(columns[column.name])} rows; the tensors before it hold {rows}.")
        rows = len(columns[column.name])
    return Inference(pa.table(columns), request_id, wanted_outputs(value.get("outputs"), outputs))


def refuse_unreadable(block: pa.Table, clean: pa.Table, plan: CleaningPlan) -> None:
    """Refuse a text that was sent as a number or a date and is neither that nor a word for missing.

    In a file such a cell counts as missing, because nobody waits for it; a caller can be told.
    """
    for column in plan.columns:
        if not column.use or column.kind not in (Kind.NUMBER, Kind.DATE):
            continue
        raw, unread = block.column(column.name), clean.column(column.name).is_null()
        if not pa.types.is_string(raw.type) or not pc.any(unread).as_py():
            continue
        numbers = np.flatnonzero(unread.to_numpy())
        texts = pc.fill_null(pc.utf8_trim_whitespace(raw.take(pa.array(numbers)).combine_chunks()), "")
        sentinel = replace(column, sentinels=()).clean(texts, plan.missing_words).is_valid()
        fine = is_word(texts, plan.missing_words + column.missing) | sentinel.to_numpy(zero_copy_only=False)
        for number in numbers[~fine][:1]:
            what = f"Row {number}, column `{column.name}`: the text cannot be read as a {column.kind.value}."
            raise Refusal(422, what)


def encode_rows(predictions: pa.Table, name: str, bundle_id: str) -> bytes:
    """Write the answer to ``POST /predict``."""
    return dump({"model": name, "bundle": bundle_id, "predictions": predictions.to_pylist()})


def encode_explanations(
    predictions: pa.Table, explanations: Sequence[Explanation], scale: str, name: str, bundle_id: str
) -> bytes:
    """Write the answer to ``POST /explain``: what ``/predict`` says of each row, and why."""
    rows = [
        {"prediction": said, "of": why.of, "base": why.base, "value": why.value, "contributions": why.parts}
        for said, why in zip(predictions.to_pylist(), explanations, strict=True)
    ]
    return dump({"model": name, "bundle": bundle_id, "scale": scale, "explanations": rows})


def inferred(predictions: pa.Table, request: Inference, name: str, version: str) -> dict[str, Any]:
    """A v2 infer response as values of JSON: one tensor per column of the prediction."""
    tensors = [
        {
            "name": column,
            "datatype": datatype_of(predictions.schema.field(column).type),
            "shape": [predictions.num_rows],
            "data": predictions.column(column).to_pylist(),
        }
        for column in request.outputs or predictions.column_names
    ]
    answer: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": tensors}
    if request.id is not None:
        answer["id"] = request.id
    return answer


def datatype_of(arrow_type: pa.DataType) -> str:
    """The protocol's word for an Arrow type that a prediction has."""
    return "FP64" if pa.types.is_floating(arrow_type) else "BYTES"


def dump(value: Any) -> bytes:
    """JSON, with every float in the shortest form that reads back to the same bits."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a character, as a caller may send one: it goes back as it came
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of two values under one name nobody can say which was meant."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise Refusal(400, f"The body names {_short(twice)} twice in one object.")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise Refusal(400, f"{text} is not JSON: send null for a value that is not known.")


def check_count(rows: int, where: str, most: int = MAX_ROWS) -> None:
    """Refuse no rows, and too many."""
    if rows == 0:
        raise Refusal(422, f"{where} holds no row.")
    if rows > most:
        raise Refusal(413, f"{where} holds {rows} rows; one request may hold {most}.")


def named_tensors(inputs: Any) -> dict[str, tuple[str, Mapping[str, Any]]]:
    if not isinstance(inputs, list):
        raise Refusal(422, "`inputs` is not a list of tensors.")
    named: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for number, tensor in enumerate(inputs):
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise Refusal(422, f"inputs[{number}] is not an object with a `name`.")
        name = tensor["name"]
        if name in named:
            raise Refusal(422, f"inputs[{number}] names the column `{name}` a second time.")
        named[name] = (f"inputs[{number}] (`{name}`)", tensor)
    return named


def refuse_strangers(tensors: Mapping[str, tuple[str, Any]], names: Collection[str]) -> None:
    """Refuse a tensor that the model has no column for: it is one that the caller takes for another."""
    for name, (where, _) in tensors.items():
        if name not in names:
            raise Refusal(422, f"{where} is no input of this model{near_to(name, names)}.")


def near_to(name: str, names: Collection[str]) -> str:
    """Which of these names may have been meant, as the end of a sentence; may be empty."""
    near = get_close_matches(name, names, n=1)
    return f"; it has `{near[0]}`" if near else ""


def _by_column(
    tensors: dict[str, tuple[str, Mapping[str, Any]]], schema: Schema, most: int
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """One tensor per column: what was sent, or the columns of the one matrix that was, in the schema's order.

    A matrix is a tensor that comes alone, has two dimensions and no column's name.
    """
    (name, (where, tensor)), *others = tensors.items() or [("", ("", {}))]
    shape, names = tensor.get("shape"), schema.names
    if others or name in names or len(names) < 2 or not isinstance(shape, list) or len(shape) != 2:
        return tensors
    if not all(type(size) is int and size >= 0 for size in shape) or shape[1] != len(names):
        some = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise Refusal(422, f"{where}: `shape` is not [n, {len(names)}]: a matrix holds all columns, in order: {some}.")
    check_count(shape[0], where, most)
    data = tensor.get("data")
    if not isinstance(data, list):
        raise Refusal(422, f"{where}: `data` is not a list.")
    if data and all(isinstance(row, list) for row in data):
        for number, row in enumerate(data):
            if len(row) != len(names):
                raise Refusal(422, f"{where}: data[{number}] holds {len(row)} values, `shape` says {len(names)}.")
        data = [cell for row in data for cell in row]
    if len(data) != shape[0] * shape[1]:
        raise Refusal(422, f"{where}: `data` holds {len(data)} values, `shape` says {shape[0] * shape[1]}.")
    return {
        column: (f"{where}, column `{column}`", {**tensor, "shape": shape[:1], "data": data[at :: len(names)]})
        for at, column in enumerate(names)
    }


def _decode_tensor(tensor: Mapping[str, Any], column: Column, where: str, most: int) -> pa.Array:
    datatype, data = tensor.get("datatype"), tensor.get("data")
    if datatype not in _DATATYPES[column.kind]:
        known = ", ".join(_DATATYPES[column.kind])
        raise Refusal(
            422, f"{where}: datatype {_short(datatype)} does not fit a {column.kind.value}; use one of {known}."
        )
    rows, nested = _rows_of(tensor.get("shape"), where, most)
    if not isinstance(data, list):
        raise Refusal(422, f"{where}: `data` is not a list.")
    if nested and data and all(isinstance(item, list) and len(item) == 1 for item in data):
        data = [item[0] for item in data]
    if len(data) != rows:
        raise Refusal(422, f"{where}: `data` holds {len(data)} values, `shape` says {rows}.")
    for number, cell in enumerate(data):
        if cell is not None and not _fits(cell, datatype):
            raise Refusal(422, f"{where}: data[{number}] is not a value of datatype {datatype}.")
    try:
        return cells_array(data, column)
    except DataError as error:
        raise Refusal(422, f"{where}: {error}") from None


def _rows_of(shape: Any, where: str, most: int) -> tuple[int, bool]:
    whole = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if not whole or len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise Refusal(422, f"{where}: `shape` is neither [n] nor [n, 1].")
    check_count(shape[0], where, most)
    return shape[0], len(shape) == 2


def _fits(cell: Any, datatype: str) -> bool:
    if datatype == "BYTES":
        return isinstance(cell, str)
    if datatype == "BOOL":
        return isinstance(cell, bool)
    if isinstance(cell, bool):
        return False
    if datatype in _INT_RANGES:
        low, high = _INT_RANGES[datatype]
        return isinstance(cell, int) and low <= cell <= high
    return isinstance(cell, (int, float))


def wanted_outputs(asked: Any, outputs: tuple[str, ...]) -> tuple[str, ...]:
    if asked is None:
        return ()
    if not isinstance(asked, list):
        raise Refusal(422, "`outputs` is not a list.")
    names = []
    for number, output in enumerate(asked):
        name = output.get("name") if isinstance(output, dict) else None
        if name not in outputs:
            raise Refusal(422, f"outputs[{number}] names no output of this model; it has {', '.join(outputs)}.")
        names.append(name)
    return tuple(names)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
