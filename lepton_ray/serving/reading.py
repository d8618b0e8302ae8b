"""What an endpoint has counted, read from its ``/metrics``: text in, one value out. It knows nothing about where.

An endpoint of several replicas answers with the counts of one of them, whichever was asked; each counts for itself
from its start. Drift of the inputs, the quality of the answers, and alarms are not measured yet.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from lepton_ray.errors import ServingError

_ASKED = ("/predict", "/infer")


@dataclass(frozen=True, slots=True)
class Counted:
    """What one replica has counted since it started.

    Attributes:
        requests: for predictions; refused: of them, how many were wrong (4xx); failed: how many the model failed (5xx).
        rows: predicted.
        in_flight: requests being answered, this question not counted.
        p50, p95: seconds within which half and 19 of 20 of these requests were answered: the upper ends of the
            histogram's buckets; None before the first request.
        bundle: the id of the bundle that answers.
    """

    requests: int
    refused: int
    failed: int
    rows: int
    in_flight: int
    p50: float | None
    p95: float | None
    bundle: str

    @classmethod
    def read(cls, text: str) -> "Counted":
        """Read an exposition.

        Raises:
            ServingError: this is not what an endpoint of lepton_ray says.
        """
        try:
            samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
            bundle = next(sample.labels["bundle"] for sample in samples if sample.name == "lepton_model_info")
        except (ValueError, KeyError, StopIteration) as fault:
            raise ServingError(
                "What answers there has no metrics of lepton_ray.", "Give the address of one of its endpoints."
            ) from fault
        asked = list(_asked(samples, "lepton_requests_total"))

        def of_status(first: str) -> int:
            return int(sum(one.value for one in asked if one.labels["status"].startswith(first)))

        buckets = _buckets(samples)
        return cls(
            int(sum(one.value for one in asked)),
            of_status("4"),
            of_status("5"),
            int(_total(samples, "lepton_rows_total")),
            max(0, int(_total(samples, "lepton_requests_in_flight")) - 1),
            _within(buckets, 0.5),
            _within(buckets, 0.95),
            bundle,
        )


def _asked(samples: list[Sample], name: str) -> Iterator[Sample]:
    """The samples of this name about requests for predictions."""
    return (one for one in samples if one.name == name and one.labels["route"].endswith(_ASKED))


def _total(samples: list[Sample], name: str) -> float:
    return sum(one.value for one in samples if one.name == name)


def _buckets(samples: list[Sample]) -> dict[float, float]:
    found: dict[float, float] = {}
    for one in _asked(samples, "lepton_request_seconds_bucket"):
        end = float(one.labels["le"])
        found[end] = found.get(end, 0.0) + one.value
    return dict(sorted(found.items()))


def _within(buckets: dict[float, float], share: float) -> float | None:
    """The least end of a bucket at which so many were answered."""
    total = buckets.get(math.inf, 0.0)
    return next((end for end, count in buckets.items() if count >= share * total), None) if total else None
