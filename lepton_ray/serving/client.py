"""Asking an endpoint from Python: rows in, predictions out, and again where that may help. It knows no bundle, no Ray.

A prediction changes nothing, so it can be asked for again: after 429 and 503, and where the connection was cut. How
long to wait is what the endpoint says in ``Retry-After``, else it doubles from a tenth of a second to five, by a random
part less. All of it together ends after ``timeout`` seconds.
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
        self._headers = {"content-type": "application/json"}
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
        given = _rows(rows)
        if not given:
            raise DataError("There are no rows to predict.", "Give at least one.")
        ends = self._clock() + self.timeout
        found: list[dict[str, Any]] = []
        size = ROWS
        while len(found) < len(given):
            part = given[len(found) : len(found) + size]
            status, body = self._asked({"rows": part}, ends)
            if status == 413 and len(part) > 1:
                size = max(1, len(part) // 2)
                continue
            found.extend(_predictions(status, body, len(found), len(part)))
        return pa.Table.from_pylist(found)

    def close(self) -> None:
        """Close the connections that wait for the next call."""
        self._pool.clear()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _asked(self, what: Mapping[str, Any], ends: float) -> tuple[int, Any]:
        """Ask until there is an answer that stands, or the time is over."""
        body, wait, said = json.dumps(what, allow_nan=False).encode(), FIRST_WAIT, "no answer"
        while True:
            pause = wait * (0.5 + 0.5 * self._rng.random())
            try:
                left = max(0.001, ends - self._clock())
                reply = self._pool.request(
                    "POST", f"{self.url}/predict", body=body, headers=self._headers, timeout=left, redirect=False
                )
                if reply.status not in AGAIN:
                    return reply.status, _json(reply)
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


def _rows(rows: Any) -> list[dict[str, Any]]:
    """What was given as rows of JSON."""
    if isinstance(rows, Mapping):
        rows = [rows]
    if not (isinstance(rows, Sequence) and not isinstance(rows, str) and all(isinstance(row, Mapping) for row in rows)):
        rows = table_of(rows).to_pylist()
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


def _predictions(status: int, body: Any, before: int, count: int) -> list[dict[str, Any]]:
    """The predictions of an answer, or what it refused; ``before`` rows were sent before these."""
    if status == 200 and isinstance(body, dict):
        found = body.get("predictions")
        if isinstance(found, list) and len(found) == count:
            return found
        raise ServingError("The answer holds another number of predictions than rows were sent.", "Is it an endpoint?")
    said = _sentence(body)
    if status in (400, 413, 422):
        where = f" (rows are counted from row {before:,} of what was given)" if before else ""
        raise DataError(f"The endpoint refused the rows{where}: {said}", "")
    if status in (401, 403):
        raise ServingError(f"The endpoint lets nobody in without the right key: {said}", "See lepton keys add.")
    raise ServingError(f"The endpoint answered with {status}: {said}", "Is this the address of an endpoint?")


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
