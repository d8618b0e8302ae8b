"""The endpoint's OpenAPI document, made from a manifest. Knows nothing about the server.

Version 3.0.3, which the Swagger UI that is shipped with the package understands.
"""

import csv
import io
from collections.abc import Mapping
from typing import Any

from lepton_ray import __version__
from lepton_ray.bundle.contributions import LOG_ODDS, VALUE
from lepton_ray.bundle.manifest import Manifest
from lepton_ray.serving.guard import OPEN
from lepton_ray.serving.media import ARROW, CSV
from lepton_ray.serving.schema import MAX_EXPLAINED, MAX_ROWS
from lepton_ray.table.schema import Kind, Task

Json = dict[str, Any]

DATATYPES = {Kind.NUMBER: "FP64", Kind.CATEGORY: "BYTES", Kind.TEXT: "BYTES", Kind.DATE: "BYTES"}
"""The protocol's word for each kind, as the metadata tells it."""

_CELL: Mapping[Kind, Json] = {
    Kind.NUMBER: {"type": "number", "nullable": True},
    Kind.CATEGORY: {"type": "string", "nullable": True},
    Kind.TEXT: {"type": "string", "nullable": True},
    Kind.DATE: {"type": "string", "nullable": True, "description": "a date, best as YYYY-MM-DD or YYYY-MM-DD HH:MM:SS"},
}


_KEYS: Mapping[str, Json] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a key as `lepton keys add` printed it"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same key"},
}
_LENIENT: Json = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string", "enum": ["handling=lenient"]},
    "description": "of CSV and Arrow: ignore columns that the model has never met, instead of refusing them",
}


def document(manifest: Manifest, name: str, *, version: str = "", keyed: bool = False) -> Json:
    """The whole document for one model.

    Args:
        version: of the model, whose routes are told too. keyed: whether whoever asks needs a key.
    """
    models = [f"/v2/models/{name}", *([f"/v2/models/{name}/versions/{version}"] if version else [])]
    whole: Json = {
        "openapi": "3.0.3",
        "info": {
            "title": f"{name}: predicts {manifest.problem.target}",
            "version": __version__,
            "description": "A model made by lepton_ray. `POST /predict` takes JSON rows, CSV and Arrow; "
            "the routes under `/v2` speak the Open Inference Protocol.",
        },
        "paths": {
            "/predict": {
                "post": _in_every_form(
                    _post("Predict rows", "Rows", "Predictions", _one_row(manifest), "rows"), manifest
                )
            },
            "/explain": {
                "post": _post("What each column contributes", "FewRows", "Explanations", _one_row(manifest), "rows")
            },
            **{f"{model}/infer": {"post": _infer(manifest)} for model in models},
            "/v2": {"get": _get("Server metadata", "protocol")},
            "/v2/health/live": {"get": _get("Is the server alive", "protocol")},
            "/v2/health/ready": {"get": _get("Is the server ready", "protocol")},
            **{model: {"get": _get("Model metadata: inputs and outputs", "protocol")} for model in models},
            **{f"{model}/ready": {"get": _get("Is the model ready", "protocol")} for model in models},
            "/metrics": {"get": _get("Counters for Prometheus", "operations")},
        },
        "components": {"schemas": _schemas(manifest)},
    }
    if keyed:
        whole["components"]["securitySchemes"] = _KEYS
        whole["security"] = [{name: []} for name in _KEYS]
        for path in OPEN:
            whole["paths"][path]["get"]["security"] = []
    return whole


def _schemas(manifest: Manifest) -> Json:
    names = list(manifest.schema.names)
    row = {
        "type": "object",
        "required": names,
        "properties": {column.name: _CELL[column.kind] for column in manifest.schema.columns},
    }
    value = {"type": "number"} if manifest.problem.task is Task.REGRESSION else {"type": "string"}
    prediction = {
        "type": "object",
        "required": list(manifest.outputs),
        "properties": {name: value if name == "prediction" else {"type": "number"} for name in manifest.outputs},
    }
    rows = {"type": "array", "items": _ref("Row"), "minItems": 1, "maxItems": MAX_ROWS}
    few = rows | {"maxItems": MAX_EXPLAINED}
    return {
        "Row": row,
        "Rows": {"oneOf": [_object(rows=rows), rows, _ref("Row")]},
        "Prediction": prediction,
        "Predictions": _object(
            model={"type": "string"},
            bundle={"type": "string"},
            predictions={"type": "array", "items": _ref("Prediction")},
        ),
        "FewRows": {"oneOf": [_object(rows=few), few, _ref("Row")]},
        "Explanation": _object(
            prediction=_ref("Prediction"),
            of={"type": "string", "description": "the class whose log-odds are explained, or the target"},
            base={"type": "number", "description": "what the model says on average of typical rows"},
            value={"type": "number", "description": "what it says of this row"},
            contributions={
                "type": "object",
                "required": names,
                "properties": {name: {"type": "number"} for name in names},
                "description": "by column; they add up to value - base",
            },
        ),
        "Explanations": _object(
            model={"type": "string"},
            bundle={"type": "string"},
            scale={"type": "string", "enum": [LOG_ODDS, VALUE]},
            explanations={"type": "array", "items": _ref("Explanation")},
        ),
        "Tensor": _object(
            name={"type": "string"},
            shape={"type": "array", "items": {"type": "integer"}},
            datatype={"type": "string"},
            data={"type": "array", "items": {}},
        ),
        "Inference": _object(inputs={"type": "array", "items": _ref("Tensor")})
        | {
            "description": "a tensor of shape [n] or [n, 1] for each column, under its name; or one of another name "
            f"and of shape [n, {len(names)}] with all columns in the order of the metadata"
        },
        "Inferred": _object(
            model_name={"type": "string"},
            model_version={"type": "string"},
            outputs={"type": "array", "items": _ref("Tensor")},
        ),
        "Error": _object(error={"type": "string"}),
    }


def _object(**properties: Any) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(schema: Json, **more: Any) -> Json:
    return {"application/json": {"schema": schema, **more}}


def _post(summary: str, body: str, answer: str, example: Json, tag: str) -> Json:
    refused = {"description": "Refused; the sentence names the field", "content": _content(_ref("Error"))}
    return {
        "tags": [tag],
        "summary": summary,
        "requestBody": {"required": True, "content": _content(_ref(body), example=example)},
        "responses": {
            "200": {"description": "Answered", "content": _content(_ref(answer))},
            **{status: refused for status in ("400", "401", "403", "408", "413", "415", "422", "429", "503")},
        },
    }


def _infer(manifest: Manifest) -> Json:
    summary = "Infer, one tensor per column or one matrix of all"
    return _post(summary, "Inference", "Inferred", _one_inference(manifest), "protocol")


def _in_every_form(post: Json, manifest: Manifest) -> Json:
    """A post of rows that takes them as CSV and as an Arrow stream too, and answers so where ``Accept`` asks for it."""
    arrow = {"schema": {"type": "string", "format": "binary"}}
    text = {"schema": {"type": "string", "description": "the columns of Row, with a header line"}}
    post["parameters"] = [_LENIENT]
    post["requestBody"]["content"] |= {CSV: text | {"example": _one_line(manifest)}, ARROW: arrow}
    post["responses"]["200"]["content"] |= {CSV: {"schema": {"type": "string"}}, ARROW: arrow}
    return post


def _get(summary: str, tag: str) -> Json:
    return {"tags": [tag], "summary": summary, "responses": {"200": {"description": "Answered"}}}


def _one_row(manifest: Manifest) -> Json:
    return {"rows": [dict(manifest.example)]}


def _one_line(manifest: Manifest) -> str:
    """The example row as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([manifest.schema.names, [manifest.example.get(name) for name in manifest.schema.names]])
    return text.getvalue()


def _one_inference(manifest: Manifest) -> Json:
    return {
        "inputs": [
            {
                "name": column.name,
                "shape": [1],
                "datatype": DATATYPES[column.kind],
                "data": [manifest.example.get(column.name)],
            }
            for column in manifest.schema.columns
        ]
    }
