"""Asking an endpoint from Python: rows in, predictions out, and again where that may help. It knows no bundle, no Ray.

A prediction changes nothing, so it can be asked for again: after 429 and 503, and where the connection was cut. How
long to wait is what the endpoint says in ``Retry-After``, else it doubles from a tenth of a second to five, by a random
part less. All of it together ends after ``timeout`` seconds.

A frame goes as an Arrow stream, in a fraction of the time that JSON takes; to an endpoint that does not know it, and
from rows that are dicts, JSON.
"""

import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import urllib3

from lepton_ray.errors import DataError, ServingError, UsageError
from lepton_ray.table.frames import table_of

ARROW = "application/vnd.apache.arrow.stream"
"""As which frames are sent, and answered."""

ROWS = 1024
"""Rows of one request: a multiple of the blocks in which models work, so that cutting a table changes no bit."""

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
AGAIN = (429, 503)


class Client:
    """A client of one endpoint; threads may share it.

    Args:
        url: of the endpoint, as ``lepton serve`` prints it. key: as ``lepton keys add`` printed it; None: none.
        timeout: seconds that one call may take, with all that is tried again.
        ca: a file of certificates to believe for https; None: those of the system.
        clock, sleep, rng: what tells the time, waits, and draws how long.

    Raises:
        UsageError: the address is none, or the key cannot be one.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        ca: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r} is no address of an endpoint.", "Give one like http://127.0.0.1:8000.")
        if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
            raise UsageError("What was given as the key cannot be one.", "Give it as `lepton keys add` printed it.")
        if not 0 < timeout < math.inf:
            raise UsageError(f"timeout is {timeout!r}.", "Give a number of seconds above 0.")
        self.url, self.timeout = url.rstrip("/"), timeout
        self._clock, self._sleep, self._rng = clock, sleep, rng or random.Random()
        self._headers: dict[str, str] = {}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key.strip()}"
        self._pool = urllib3.PoolManager(maxsize=16, retries=False, ca_certs=ca)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def predict(self, rows: Any) -> pa.Table:
        """Predict a pandas, Arrow or polars frame, one dict, or a sequence of dicts.

        Returns:
            One row out per row in, in the same order, with the columns that ``lepton predict`` writes: ``prediction``
            and what stands beside it.

        Raises:
            DataError: there are no rows, or the endpoint refused one; its sentence names the field.
            ServingError: the key does not open it, or it did not answer within ``timeout``.
        """
        given = _given(rows)
        if len(given) == 0:
            raise DataError("There are no rows to predict.", "Give at least one.")
        ends = self._clock() + self.timeout
        found: list[pa.Table] = []
        done, size = 0, ROWS
        while done < len(given):
            part = given[done : done + size]
            reply = self._asked(*_sent(part), ends)
            if reply.status == 415 and isinstance(given, pa.Table):  # an endpoint that takes JSON only
                given = _rows(given.to_pylist())
            elif reply.status == 413 and len(part) > 1:
                size = max(1, len(part) // 2)
            else:
                found.append(_predictions(reply, done, len(part)))
                done += len(part)
        return pa.concat_tables(found)

    def close(self) -> None:
        """Close the connections that wait for the next call."""
        self._pool.clear()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _asked(self, body: bytes, form: Mapping[str, str], ends: float) -> urllib3.BaseHTTPResponse:
        """Ask until there is an answer that stands, or the time is over."""
        wait, said = FIRST_WAIT, "no answer"
        headers = {**self._headers, **form}
        while True:
            pause = wait * (0.5 + 0.5 * self._rng.random())
            try:
                left = max(0.001, ends - self._clock())
                reply = self._pool.request(
                    "POST", f"{self.url}/predict", body=body, headers=headers, timeout=left, redirect=False
                )
                if reply.status not in AGAIN:
                    return reply
                said = f"{reply.status}: {_sentence(_json(reply))}"
                pause = max(pause, _retry_after(reply))
            except urllib3.exceptions.HTTPError as fault:
                said = f"{type(fault).__name__}: {fault}"
            if self._clock() + pause >= ends:
                raise ServingError(
                    f"{self.url} gave no prediction within {self.timeout:g} s; the last it said: {said}.",
                    "Try again later, or give a longer timeout.",
                )
            self._sleep(pause)
            wait = min(2 * wait, LONGEST_WAIT)


def _given(rows: Any) -> Any:
    """What was given: a frame as an Arrow table, anything else as rows of JSON."""
    if isinstance(rows, Mapping):
        rows = [rows]
    if isinstance(rows, Sequence) and not isinstance(rows, str) and all(isinstance(row, Mapping) for row in rows):
        return _rows(rows)
    return table_of(rows)


def _sent(part: Any) -> tuple[bytes, Mapping[str, str]]:
    """A part of what was given as a body, and the headers that say what it is."""
    if not isinstance(part, pa.Table):
        return json.dumps({"rows": part}, allow_nan=False).encode(), {"content-type": "application/json"}
    plain = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in part.columns  # a part has few rows, and its dictionary those of the whole table
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(
        sink, pa.schema(zip(part.column_names, (column.type for column in plain), strict=True))
    ) as to:
        to.write_table(pa.table(plain, names=part.column_names))
    return sink.getvalue().to_pybytes(), {"content-type": ARROW, "accept": ARROW, "prefer": "handling=lenient"}


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as rows of JSON."""
    return [{str(name): _cell(value) for name, value in row.items()} for row in rows]


def _cell(value: Any) -> Any:
    """A cell as the endpoint reads it: null, truth, number or text."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None if value != value else str(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _predictions(reply: urllib3.BaseHTTPResponse, before: int, count: int) -> pa.Table:
    """The predictions of an answer, or what it refused; ``before`` rows were sent before these."""
    if reply.status == 200:
        found = _table(reply)
        if found is not None and found.num_rows == count:
            return found
        raise ServingError("The answer holds another number of predictions than rows were sent.", "Is it an endpoint?")
    said = _sentence(_json(reply))
    if reply.status in (400, 413, 422):
        where = f" (rows are counted from row {before:,} of what was given)" if before else ""
        raise DataError(f"The endpoint refused the rows{where}: {said}", "")
    if reply.status in (401, 403):
        raise ServingError(f"The endpoint lets nobody in without the right key: {said}", "See lepton keys add.")
    raise ServingError(f"The endpoint answered with {reply.status}: {said}", "Is this the address of an endpoint?")


def _table(reply: urllib3.BaseHTTPResponse) -> pa.Table | None:
    """The predictions of an answer in either form; None where there are none in it."""
    try:
        if reply.headers.get("content-type") == ARROW:
            return pa.ipc.open_stream(reply.data).read_all().replace_schema_metadata(None)
        return pa.Table.from_pylist(json.loads(reply.data)["predictions"])
    except (ValueError, LookupError, TypeError, AttributeError, pa.ArrowException):
        return None


def _retry_after(reply: urllib3.BaseHTTPResponse) -> float:
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _json(reply: urllib3.BaseHTTPResponse) -> Any:
    try:
        return json.loads(reply.data)
    except ValueError:
        return None


def _sentence(body: Any) -> str:
    return str(body["error"]) if isinstance(body, dict) and "error" in body else "no reason given"
