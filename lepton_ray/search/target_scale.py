"""On which scale a regression's target is better learned, as its trials tell, and a list that follows them.

What a logarithm is worth hangs on the target more than on the family (measured: see LOG.md), so that a family need not
find it out for itself. It knows nothing about what a configuration means but its ``target``.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from lepton_ray.search.trial import DONE, Outcome

CLEARLY = 0.98
"""Of the worse one's error: so much better is clearly better."""
PLAIN = "plain"

Entry = tuple[str, dict[str, Any]]
"""A family and its configuration."""


def better_scale(outcomes: Iterable[Outcome]) -> str | None:
    """The scale of a regression's target, ``target`` of a configuration, on which most families did clearly better, of
    those that were tried on both on one rung; None where they do not agree: what a logarithm is worth hangs on the
    target more than on the family."""
    best: dict[tuple[str, int], dict[str, float]] = {}
    for one in outcomes:
        if one.state == DONE and one.error is not None:
            scales = best.setdefault((one.trial.family, one.trial.rung), {})
            scale = one.trial.config.get("target", PLAIN)
            scales[scale] = min(one.error, scales.get(scale, float("inf")))
    votes = Counter(
        min(scales, key=lambda scale: scales[scale])
        for scales in best.values()
        if min(scales.values()) < CLEARLY * max(scales.values())
    )
    ranked = votes.most_common(2)
    return ranked[0][0] if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]) else None


def on_scale(entries: Sequence[Entry], scale: str | None) -> list[Entry]:
    """The same list, within each family what is on this scale first, each family in its places as before."""
    turns: dict[str, list[dict[str, Any]]] = {}
    for family, config in entries:
        turns.setdefault(family, []).append(config)
    for configs in turns.values():
        if scale is not None:
            configs.sort(key=lambda config: config.get("target", PLAIN) != scale)
    following = {family: iter(configs) for family, configs in turns.items()}
    return [(family, next(following[family])) for family, _ in entries]
