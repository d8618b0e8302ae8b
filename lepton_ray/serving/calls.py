"""The Open Inference Protocol over gRPC: each call becomes a request to the endpoint's own app, guard and all.

So a call has the keys, the limits, the counts and the answers of the same request over HTTP, and of a refusal the same
sentence. A number that is not known is NaN here, for which JSON has null. It knows no gRPC server; the messages are
made from ``open_inference.proto`` by ``scripts/generate_protocol.py``.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from starlette.types import ASGIApp, Message

from lepton_ray import __version__
from lepton_ray.serving import open_inference_pb2 as wire
from lepton_ray.serving.guard import OPEN_CALLS
from lepton_ray.serving.schema import Refusal

SERVICE = wire.DESCRIPTOR.services_by_name["GRPCInferenceService"]
METHODS = tuple(method.name for method in SERVICE.methods)
CALL = "lepton_ray.call"
"""An extension of a request's scope, which no server sets: what bears it came as a call."""

CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",  # not RESOURCE_EXHAUSTED, after which the same may be tried again
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    431: "INVALID_ARGUMENT",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
_TAKEN = ("authorization", "x-api-key", "x-request-id", "traceparent")
_GIVEN = ("traceparent", "retry-after")
_LONGEST = 1000
"""Characters of a sentence: it travels in a trailer, for which there is little room."""

_FIELDS = {
    "BOOL": ("bool_contents", "?"),
    "FP64": ("fp64_contents", "<f8"),
    "FP32": ("fp32_contents", "<f4"),
    "FP16": ("", "<f2"),
    "INT64": ("int64_contents", "<i8"),
    "UINT64": ("uint64_contents", "<u8"),
    **{f"INT{bits}": ("int_contents", f"<i{bits // 8}") for bits in (8, 16, 32)},
    **{f"UINT{bits}": ("uint_contents", f"<u{bits // 8}") for bits in (8, 16, 32)},
}
"""By datatype where its elements stand in a message, and how they are written raw."""

Json = dict[str, Any]
Work = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Called:
    """What came of a call: the name of its status, and either its answer or the sentence; and trailing metadata."""

    code: str
    details: str
    answer: bytes
    trailing: tuple[tuple[str, str], ...]


async def call(app: ASGIApp, method: str, message: bytes, metadata: Iterable[tuple[str, Any]]) -> Called:
    """Ask the app of an endpoint what a call asks; ``message`` is the request as it travels."""
    pairs = [(name.encode(), value.encode()) for name, value in metadata if name in _TAKEN and isinstance(value, str)]
    path = path_of(method)
    scope: Json = {"type": "http", "method": "POST" if method == "ModelInfer" else "GET", "path": path}
    scope |= {"headers": pairs, "query_string": b"", "root_path": "", "raw_path": path.encode(), "http_version": "2"}
    scope |= {"scheme": "grpc", "client": None, "server": None, "asgi": {"version": "3.0"}, "extensions": {CALL: {}}}
    status, told, body = 500, list[tuple[bytes, bytes]](), b""

    async def receive() -> Message:
        return {"type": "http.request", "body": message, "more_body": False}

    async def send(event: Message) -> None:
        nonlocal status, told, body
        if event["type"] == "http.response.start":
            status, told = event["status"], event["headers"]
        else:
            body += event.get("body", b"")

    await app(scope, receive, send)
    trailing = tuple((name.decode(), value.decode()) for name, value in told if name.decode() in _GIVEN)
    if status == 200:
        return Called("OK", "", body, trailing)
    return Called(CODES.get(status, "UNKNOWN"), json.loads(body)["error"][:_LONGEST], b"", trailing)


def path_of(method: str) -> str:
    """Where a method of the service lies."""
    return f"/{SERVICE.full_name}/{method}"


def works_of(metadata: Mapping[str, Any], infer: Callable[[Any], Json]) -> dict[str, Work]:
    """What answers each method, by its path: the bytes of a message in, those of another one out.

    Args:
        metadata: of the model, as the protocol tells it. infer: what answers a request as values of JSON.
    """

    def about(body: bytes) -> bytes:
        request = _read(wire.ModelMetadataRequest, body)
        _check_model(request.name, request.version, metadata)
        return _bytes(wire.ModelMetadataResponse(**metadata))

    def ready(body: bytes) -> bytes:
        request = _read(wire.ModelReadyRequest, body)
        _check_model(request.name, request.version, metadata)
        return _bytes(wire.ModelReadyResponse(ready=True))

    def inferred(body: bytes) -> bytes:
        request = _read(wire.ModelInferRequest, body)
        _check_model(request.model_name, request.model_version, metadata)
        raw = bool(request.raw_input_contents)
        return _bytes(message_of(infer(value_of(request)), raw=raw))

    server = wire.ServerMetadataResponse(name="lepton_ray", version=__version__)
    found: dict[str, Work] = {
        "ServerLive": lambda body: _bytes(wire.ServerLiveResponse(live=True)),
        "ServerReady": lambda body: _bytes(wire.ServerReadyResponse(ready=True)),
        "ServerMetadata": lambda body: _bytes(server),
        "ModelReady": ready,
        "ModelMetadata": about,
        "ModelInfer": inferred,
    }
    assert set(OPEN_CALLS) == {path_of("ServerLive"), path_of("ServerReady")}
    return {path_of(method): found[method] for method in METHODS}


def _read(kind: Any, body: bytes) -> Any:
    try:
        return kind.FromString(body)
    except DecodeError:
        raise Refusal(400, f"The message is no {kind.DESCRIPTOR.name}.") from None


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _check_model(name: str, version: str, metadata: Mapping[str, Any]) -> None:
    if name != metadata["name"] or version not in ("", *metadata["versions"]):
        here = f"`{metadata['name']}` of version {metadata['versions'][0]}"
        raise Refusal(404, f"There is no such model or version here: this endpoint has {here}.")


def value_of(request: Any) -> Json:
    """An infer request as the values of JSON that it would be over HTTP."""
    raw: Sequence[bytes] = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Refusal(422, f"`raw_input_contents` holds {len(raw)} tensors, `inputs` names {len(request.inputs)}.")
    inputs = []
    for number, tensor in enumerate(request.inputs):
        where = f"inputs[{number}] (`{tensor.name}`)"
        if raw and tensor.HasField("contents"):
            raise Refusal(422, f"{where} has `contents` beside `raw_input_contents`: send one of them.")
        data = _raw(raw[number], tensor, where) if raw else _typed(tensor, where)
        inputs.append(
            {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": _known(data, where)}
        )
    value: Json = {"inputs": inputs}
    if request.id:
        value["id"] = request.id
    if request.outputs:
        value["outputs"] = [{"name": output.name} for output in request.outputs]
    return value


def message_of(answer: Mapping[str, Any], *, raw: bool) -> Any:
    """An answer in values of JSON as a message; ``raw``: its tensors as bytes, which is how the request came."""
    message = wire.ModelInferResponse(
        model_name=answer["model_name"], model_version=answer["model_version"], id=answer.get("id", "")
    )
    for tensor in answer["outputs"]:
        told = message.outputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        if tensor["datatype"] == "BYTES":
            cells = [str(cell).encode() for cell in tensor["data"]]
            if raw:
                message.raw_output_contents.append(b"".join(len(cell).to_bytes(4, "little") + cell for cell in cells))
            else:
                told.contents.bytes_contents.extend(cells)
        elif raw:
            message.raw_output_contents.append(np.array(tensor["data"], "<f8").tobytes())
        else:
            told.contents.fp64_contents.extend(tensor["data"])
    return message


def _raw(content: bytes, tensor: Any, where: str) -> list[Any]:
    """The elements of a tensor that came as bytes; of a datatype that there is not, none."""
    if tensor.datatype == "BYTES":
        return _texts(_pieces(content, math.prod(tensor.shape), where), where)
    if tensor.datatype not in _FIELDS:
        return []
    kind = np.dtype(_FIELDS[tensor.datatype][1])
    if len(content) % kind.itemsize:
        raise Refusal(422, f"{where}: its {len(content)} raw bytes are no whole number of {tensor.datatype}.")
    elements: list[Any] = np.frombuffer(content, kind).tolist()
    return elements


def _typed(tensor: Any, where: str) -> list[Any]:
    """The elements of a tensor that came in the field of its datatype; of a datatype that has none, none."""
    if tensor.datatype == "BYTES":
        return _texts(tensor.contents.bytes_contents, where)
    field = _FIELDS.get(tensor.datatype, ("", ""))[0]
    if tensor.datatype == "FP16":
        raise Refusal(422, f"{where}: FP16 has no field of its own; send it in `raw_input_contents`.")
    wrong = [told.name for told, _ in tensor.contents.ListFields() if field and told.name != field]
    if wrong:
        raise Refusal(422, f"{where}: {tensor.datatype} stands in `{field}`, not in `{wrong[0]}`.")
    return list(getattr(tensor.contents, field)) if field else []


def _pieces(content: bytes, most: int, where: str) -> list[bytes]:
    """BYTES elements, each behind its length; not many more than there may be."""
    found, at = list[bytes](), 0
    while at < len(content) and len(found) <= most:
        end = at + 4 + int.from_bytes(content[at : at + 4], "little")
        if len(content) < max(end, at + 4):
            raise Refusal(422, f"{where}: raw element {len(found)} is longer than its bytes.")
        found.append(content[at + 4 : end])
        at = end
    return found


def _texts(cells: Iterable[bytes], where: str) -> list[str]:
    found = []
    for number, cell in enumerate(cells):
        try:
            found.append(cell.decode())
        except UnicodeDecodeError:
            raise Refusal(422, f"{where}: data[{number}] is not UTF-8.") from None
    return found


def _known(data: list[Any], where: str) -> list[Any]:
    """Elements with None where a number is NaN."""
    if not data or not isinstance(data[0], float):
        return data
    for number, cell in enumerate(data):
        if math.isinf(cell):
            raise Refusal(422, f"{where}: data[{number}] is infinity, which is not a value; send NaN.")
    return [None if cell != cell else cell for cell in data]
