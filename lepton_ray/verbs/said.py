"""What the verbs answer with: plain values that can be read aloud. They know nothing about how they came to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.manifest import plain
from lepton_ray.bundle.tensors import TensorBundle
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.duration import duration_text
from lepton_ray.money.receipt import Receipt
from lepton_ray.runs import Service
from lepton_ray.serving.reading import Counted


@dataclass(frozen=True, slots=True)
class Fitted:
    """What ``train`` and ``optimize`` come to.

    Attributes:
        score: by ``metric``, on X_test, in the metric's own direction.
        ended: why it ended.
        settings: that it was fitted with, as far as they were chosen here.
        trials: how many settings were tried.
        bundle: the sealed model; None where it cannot leave this process, and ``notes`` say why.
        receipt: what it cost, stage by stage.
        notes: sentences about what is out of the ordinary.
    """

    model: str
    score: float
    metric: str
    ended: str
    settings: Mapping[str, Any]
    trials: int
    folder: Path
    bundle: Bundle | TensorBundle | None = field(repr=False)
    receipt: Receipt = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def spent(self) -> Dollars:
        return self.receipt.total.dollars

    @property
    def seconds(self) -> float:
        return self.receipt.total.seconds

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values, as ``lepton runs`` reads them."""
        bundle = None if self.bundle is None else str(self.bundle.folder)
        told: dict[str, Any] = plain(
            {
                "run": self.folder.name,
                "model": self.model,
                "metric": self.metric,
                "score": self.score,
                "stopped_because": self.ended,
                "settings": self.settings,
                "trials": self.trials,
                "bundle": bundle,
                "spent_usd": float(self.spent),
                "wall_seconds": self.seconds,
                "notes": self.notes,
            }
        )
        return told

    def __str__(self) -> str:
        tried = f", the best of {self.trials} settings {dict(self.settings)}" if self.trials > 1 else ""
        first = f"{self.model}: {self.metric} {self.score:.4f} on X_test{tried}; {self.ended}"
        cost = f"It took {duration_text(self.seconds)} and {self.spent}; see {self.folder}."
        return "\n".join([first + ".", cost, *self.notes])


@dataclass(frozen=True, slots=True)
class Deployed:
    """An endpoint, and the file by which ``serve deploy`` makes another one; ``stop`` it, or use it as a context.

    Attributes:
        url: where it answers; empty where only the file was wanted.
        config: the YAML file.
        per_hour: what the machine costs.
    """

    url: str
    config: Path
    per_hour: Dollars
    since: float
    service: Service | None = field(repr=False)

    def stop(self) -> None:
        """End the endpoint; once more is no fault."""
        if self.service is not None:
            self.service.stop()

    def __enter__(self) -> Deployed:
        return self

    def __exit__(self, *fault: object) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of an endpoint now.

    Attributes:
        counted: by the replica that answered; with several, each counts for itself.
        seconds: since it was deployed; dollars: what the machine cost meanwhile.
    """

    url: str
    counted: Counted
    seconds: float
    dollars: Dollars

    @property
    def per_1000_rows(self) -> Dollars | None:
        """What a thousand rows have cost until now, idle time included; None before the first."""
        rows = self.counted.rows
        return None if not rows else Dollars(round(self.dollars.micros * 1000 / rows))

    def __str__(self) -> str:
        seen = self.counted
        asked = f"{seen.requests} requests ({seen.refused} refused, {seen.failed} failed), {seen.rows} rows"
        took = "" if seen.p50 is None else f"; half within {_ms(seen.p50)}, 19 of 20 within {_ms(seen.p95)}"
        each = "" if self.per_1000_rows is None else f", {self.per_1000_rows} for 1,000 rows"
        return (
            f"{self.url}: {asked}{took}.\n"
            f"In {duration_text(self.seconds)} the machine cost {self.dollars}{each}.\n"
            "Counted by one replica. Drift of the inputs, quality of the answers and alarms are not built yet."
        )


def _ms(seconds: float | None) -> str:
    return "more than 10 s" if seconds is None or seconds > 10 else f"{1000 * seconds:g} ms"
