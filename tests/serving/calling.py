"""An app behind a gRPC server of its own, and calls to any server: right ones, and wrong ones with what is said."""

import asyncio
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from google.protobuf.message_factory import GetMessageClass
from starlette.types import ASGIApp

from lepton_ray.on_ray.calls import answer, offer
from lepton_ray.serving import open_inference_pb2 as wire
from lepton_ray.serving.calls import SERVICE, path_of
from tests.sealed import ROW

Metadata = Sequence[tuple[str, str]]


class Servicer:
    """Hands each method to the app, as a replica does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __getattr__(self, method: str) -> Any:
        async def called(request: bytes, context: Any) -> Any:
            return await answer(self._app, method, request, context)

        return called


@contextmanager
def calling(app: ASGIApp) -> Iterator[int]:
    """The port of loopback where the app is called, by a server in a thread."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), list[Any]()

    async def start() -> None:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])  # as Serve's
        offer(Servicer(app), server)
        found.extend((server, server.add_insecure_port("127.0.0.1:0")))
        await server.start()
        ready.set()

    def live() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield found[1]
    finally:
        asyncio.run_coroutine_threadsafe(found[0].stop(1), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def call(port: int, method: str, request: Any = None, metadata: Metadata = ()) -> Any:
    """Call a method; what is refused raises ``grpc.RpcError``."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        told = SERVICE.methods_by_name[method]
        ask = channel.unary_unary(
            path_of(method),
            request_serializer=lambda sent: sent if isinstance(sent, bytes) else sent.SerializeToString(),
            response_deserializer=GetMessageClass(told.output_type).FromString,
        )
        given = GetMessageClass(told.input_type)() if request is None else request
        return ask(given, timeout=20, metadata=metadata)


def refused(port: int, method: str, request: Any = None, metadata: Metadata = ()) -> tuple[str, str, dict[str, str]]:
    """The status, the sentence and the trailing metadata of a call that is refused."""
    try:
        told = call(port, method, request, metadata)
    except grpc.RpcError as error:
        trailing = {name: value for name, value in error.trailing_metadata() or ()}  # type: ignore[attr-defined]
        return error.code().name, error.details(), trailing  # type: ignore[attr-defined]
    raise AssertionError(f"answered: {told}")


def values(answer: Any) -> dict[str, list[Any]]:
    """The tensors of an answer, raw or typed."""
    found: dict[str, list[Any]] = {}
    for number, tensor in enumerate(answer.outputs):
        if not answer.raw_output_contents:
            told = tensor.contents
            found[tensor.name] = list(told.fp64_contents) or [cell.decode() for cell in told.bytes_contents]
            continue
        content = answer.raw_output_contents[number]
        if tensor.datatype == "FP64":
            found[tensor.name] = np.frombuffer(content, "<f8").tolist()
            continue
        cells = []
        while content:
            end = 4 + int.from_bytes(content[:4], "little")
            cells.append(content[4:end].decode())
            content = content[end:]
        found[tensor.name] = cells
    return found


def raw(*cells: str | float) -> bytes:
    """Elements as bytes: FP64 or BYTES."""
    return b"".join(
        struct.pack("<d", cell) if isinstance(cell, float) else struct.pack("<I", len(cell.encode())) + cell.encode()
        for cell in cells
    )


def typed_request(rows: Sequence[Mapping[str, Any]] = (ROW,), model: str = "churn", **more: Any) -> Any:
    """A request with one tensor per column, in typed fields; ``tenure`` as FP64."""
    request = wire.ModelInferRequest(model_name=model, **more)
    for name in ROW:
        cells = [row[name] for row in rows]
        number = name == "tenure"
        tensor = request.inputs.add(name=name, datatype="FP64" if number else "BYTES", shape=[len(cells)])
        if number:
            tensor.contents.fp64_contents.extend(cells)
        else:
            tensor.contents.bytes_contents.extend(cell.encode() for cell in cells)
    return request


def raw_request(rows: Sequence[Mapping[str, Any]] = (ROW,), **more: Any) -> Any:
    """The same with raw contents."""
    request = typed_request(rows, **more)
    for tensor in request.inputs:
        tensor.ClearField("contents")
        cells = [row[tensor.name] for row in rows]
        request.raw_input_contents.append(raw(*(float(cell) if tensor.name == "tenure" else cell for cell in cells)))
    return request


def changed(made: Any, number: int = 0, **fields: Any) -> Any:
    """A request with other fields in one of its tensors."""
    tensor = made.inputs[number]
    for name, value in fields.items():
        tensor.ClearField(name)
        if isinstance(value, list):
            getattr(tensor, name).extend(value)
        elif name == "contents":
            tensor.contents.CopyFrom(value)
        else:
            setattr(tensor, name, value)
    return made


def with_raw(number: int, content: bytes) -> Any:
    """A raw request with other bytes in one of its tensors."""
    made = raw_request()
    made.raw_input_contents[number] = content
    return made


def few_raw() -> Any:
    made = raw_request()
    del made.raw_input_contents[0]
    return made


def both() -> Any:
    made = typed_request()
    made.raw_input_contents.extend(raw_request().raw_input_contents)
    return made


def contents(**fields: Any) -> Any:
    return wire.InferTensorContents(**fields)


def outputs(name: str) -> Any:
    made = typed_request()
    made.outputs.add(name=name)
    return made


def renamed(**fields: str) -> Any:
    made = typed_request()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


INVALID, NOT_FOUND = "INVALID_ARGUMENT", "NOT_FOUND"
WRONG: dict[str, tuple[Any, str, str]] = {
    "bytes of no message": (b"\xff" * 40, INVALID, "The message is no ModelInferRequest"),
    "half a message": (typed_request().SerializeToString()[:-7], INVALID, "The message is no ModelInferRequest"),
    "a text that is none": (b"\x0a\x02\xff\xfe", INVALID, "The message is no ModelInferRequest"),
    "JSON": (b'{"inputs": []}', INVALID, "The message is no ModelInferRequest"),
    "nothing": (wire.ModelInferRequest(), NOT_FOUND, "no such model"),
    "another model": (renamed(model_name="other"), NOT_FOUND, "this endpoint has `churn`"),
    "another version": (renamed(model_version="2"), NOT_FOUND, "no such model or version"),
    "no inputs": (wire.ModelInferRequest(model_name="churn"), INVALID, "lacks a tensor for the column `tenure`"),
    "a column missing": (
        changed(typed_request(), 1, name="tenure2"),
        INVALID,
        "no input of this model; it has `tenure`",
    ),
    "a column twice": (changed(typed_request(), 1, name="tenure"), INVALID, "`tenure` a second time"),
    "a datatype that is none": (changed(typed_request(), datatype="FP99"), INVALID, "datatype 'FP99' does not fit"),
    "a raw datatype that is none": (changed(raw_request(), datatype="FP99"), INVALID, "datatype 'FP99' does not fit"),
    "a number for a text": (
        changed(typed_request(), 3, datatype="FP64", contents=contents(fp64_contents=[1])),
        INVALID,
        "`note`",
    ),
    "a field of another type": (
        changed(typed_request(), contents=contents(int64_contents=[1])),
        INVALID,
        "stands in `fp64_contents`, not in `int64_contents`",
    ),
    "no contents": (changed(typed_request(), contents=contents()), INVALID, "holds 0 values, `shape` says 1"),
    "FP16 in a field": (changed(typed_request(), datatype="FP16"), INVALID, "send it in `raw_input_contents`"),
    "out of range": (
        changed(typed_request(), datatype="INT8", contents=contents(int_contents=[128])),
        INVALID,
        "data[0] is not a value of datatype INT8",
    ),
    "infinity": (
        changed(typed_request(), contents=contents(fp64_contents=[float("inf")])),
        INVALID,
        "`tenure`): data[0] is infinity",
    ),
    "not UTF-8": (
        changed(typed_request(), 1, contents=contents(bytes_contents=[b"\xff"])),
        INVALID,
        "`city`): data[0] is not UTF-8",
    ),
    "a word for a number": (
        changed(typed_request(), datatype="BYTES", contents=contents(bytes_contents=[b"many"])),
        INVALID,
        "column `tenure`",
    ),
    "no shape": (changed(typed_request(), shape=[]), INVALID, "`shape` is neither"),
    "a negative shape": (changed(typed_request(), shape=[-1]), INVALID, "`shape` is neither"),
    "a huge shape": (changed(typed_request(), shape=[2**62]), INVALID, "one request may hold 10000"),
    "no rows": (changed(raw_request(), shape=[0]), INVALID, "holds no row"),
    "other rows": (changed(typed_request(), 1, shape=[2]), INVALID, "holds 1 values, `shape` says 2"),
    "raw and typed": (both(), INVALID, "beside `raw_input_contents`"),
    "too few raw": (few_raw(), INVALID, "holds 3 tensors, `inputs` names 4"),
    "half a raw number": (with_raw(0, b"\x00" * 7), INVALID, "7 raw bytes are no whole number of FP64"),
    "a raw text too long": (with_raw(1, b"\xff\xff\xff\xffUlm"), INVALID, "raw element 0 is longer than its bytes"),
    "half a raw length": (with_raw(1, b"\x00\x00"), INVALID, "raw element 0 is longer than its bytes"),
    "a million raw texts": (with_raw(1, b"\x00" * 4_000_000), INVALID, "`shape` says 1"),
    "raw bytes that are no text": (with_raw(1, b"\x01\x00\x00\x00\xff"), INVALID, "data[0] is not UTF-8"),
    "too large": (with_raw(1, b"\x00" * (9 << 20)), INVALID, "larger than"),
    "an output that is none": (outputs("sky"), INVALID, "outputs[0] names no output"),
}
"""Requests to ModelInfer: the status and a part of what is said."""
