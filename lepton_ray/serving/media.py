"""The forms in which rows come and answers go: JSON, CSV and Arrow streams. Knows nothing about routes or models.

A CSV body is read as ``lepton predict`` reads a file: every cell as text, and then by the bundle's own cleaning plan.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pa_csv

from lepton_ray.bundle.rows import check_names
from lepton_ray.errors import DataError
from lepton_ray.serving.arrow_body import plain_columns, read_stream, write_stream
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.schema import Refusal, check_count, decode_rows, encode_rows, near_to, parse_json
from lepton_ray.table.cleaning import CleaningPlan
from lepton_ray.table.reading import parse_csv
from lepton_ray.table.schema import Schema

JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
FORMS = (JSON, CSV, ARROW)
JSON_ONLY = (JSON,)
_ANY = {"*/*": JSON, "application/*": JSON, "text/*": CSV}


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the headers of a request say.

    Attributes:
        body, answer: the form of each. lenient: columns that the model has never met are to be ignored.
    """

    body: str = JSON
    answer: str = JSON
    lenient: bool = False


def spoken_in(headers: Iterable[tuple[bytes, bytes]], takes: tuple[str, ...]) -> Spoken:
    """Read the headers of a request whose route takes these forms.

    Raises:
        Refusal: its body is of another form, or packed.
    """
    body, accept, lenient = JSON, "", False
    for name, value in headers:
        if name == b"content-type":
            body = _form(value, takes)
        elif name == b"accept":
            accept += f",{value.decode('latin-1')}"
        elif name == b"prefer":
            lenient = lenient or b"handling=lenient" in value.lower().replace(b" ", b"")
        elif name == b"inference-header-content-length":
            raise Refusal(415, "Binary tensor data is not supported: send `data` as JSON.")
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise Refusal(415, "The content-encoding is not supported: send the body as it is.")
    return Spoken(body, wanted(accept, takes), lenient)


def _form(value: bytes, takes: tuple[str, ...]) -> str:
    kind = value.partition(b";")[0].strip().lower().decode("latin-1")
    if kind in takes:
        return kind
    if kind.endswith("+json"):
        return JSON
    known = f"none of {', '.join(takes)}" if len(takes) > 1 else f"not {JSON}"
    raise Refusal(415, f"The content-type is {known}.")


def wanted(accept: str, takes: tuple[str, ...] = FORMS) -> str:
    """The form that an ``Accept`` header likes best of these; of equals the one that it names first. Else JSON."""
    best, found = 0.0, JSON
    for part in accept.lower().split(",") if len(takes) > 1 else ():
        name, *parameters = (piece.strip() for piece in part.split(";"))
        name = _ANY.get(name, name)
        if name not in takes:
            continue
        quality = next((_number(given[2:]) for given in parameters if given.startswith("q=")), 1.0)
        if quality > best:
            best, found = quality, name
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def read_rows(body: bytes, spoken: Spoken, schema: Schema, plan: CleaningPlan, limits: Limits) -> pa.Table:
    """The rows of a body as one raw block of the schema's columns.

    Raises:
        Refusal: it is not what it says, or lacks a column, or has one that the plan has never met.
    """
    most = limits.rows
    if spoken.body == JSON:
        return decode_rows(parse_json(body), schema, most)
    table = _csv_rows(body, most) if spoken.body == CSV else read_stream(body, most)
    try:
        check_names(table.column_names, schema)
    except DataError as fault:
        raise Refusal(422, str(fault)) from None
    if not spoken.lenient:
        _refuse_unmet(table.column_names, schema, plan)
    if spoken.body == CSV:
        return table.select(list(schema.names))
    return plain_columns(table, schema, limits.body)


def write_answer(answer: pa.Table, form: str, name: str, bundle_id: str) -> bytes:
    """Predictions in a form: in CSV and Arrow the columns that ``lepton predict`` writes."""
    if form == JSON:
        return encode_rows(answer, name, bundle_id)
    if form == ARROW:
        return write_stream(answer, {"model": name, "bundle": bundle_id})
    sink = io.BytesIO()
    pa_csv.write_csv(answer, sink, pa_csv.WriteOptions(quoting_style="needed"))
    return sink.getvalue()


def _csv_rows(body: bytes, most: int) -> pa.Table:
    if body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        raise Refusal(400, f"The body is not CSV, though its content-type says {CSV}; it looks like JSON.")
    try:
        table, rejected = parse_csv("The body", body)
    except DataError as fault:
        raise Refusal(400, fault.what) from None
    if rejected:
        row = rejected[0].row
        where = f"Line {row} of the body" if row is not None else "The last row of the body"
        raise Refusal(400, f"{where} has not {len(table.column_names)} fields, or a quoted cell in it does not end.")
    check_count(table.num_rows, "The body", most)
    return table


def _refuse_unmet(names: Iterable[str], schema: Schema, plan: CleaningPlan) -> None:
    """Refuse a column that was not in the table that the model was made from: its caller may take it for another."""
    met = {plan.target.name, *(column.name for column in plan.columns)}
    for name in names:
        if name not in met:
            near = near_to(name, schema.names)
            raise Refusal(
                422,
                f"The column `{name}` is not known to this model{near}; drop it, or send `Prefer: handling=lenient`.",
            )
