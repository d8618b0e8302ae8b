"""On which scale a regression's target is better learned, as its trials tell, and a list that follows them.

What a logarithm is worth hangs on the target more than on the family (measured: see LOG.md), so that a family need not
find it out for itself. It knows nothing about what a configuration means but its ``target``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lepton_ray.search.trial import DONE, Outcome

CLEARLY = 0.98
"""Of the worse one's error: so much better is clearly better."""
MORE_ROWS = 0.8
"""The same of one that was fitted on more rows, of which a part of the gain comes."""
PLAIN = "plain"

Entry = tuple[str, dict[str, Any]]
"""A family and its configuration."""


def better_scale(outcomes: Iterable[Outcome]) -> str | None:
    """The scale of a regression's target, ``target`` of a configuration, on which most families did clearly better, of
    those that were tried on two; None where they do not agree."""
    families: dict[str, dict[str, Outcome]] = {}
    for one in outcomes:
        if one.state == DONE and one.error is not None:
            best = families.setdefault(one.trial.family, {})
            scale = one.trial.config.get("target", PLAIN)
            if scale not in best or _standing(one) < _standing(best[scale]):
                best[scale] = one
    votes = Counter(_vote(best) for best in families.values())
    del votes[None]
    ranked = votes.most_common(2)
    return ranked[0][0] if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]) else None


def _vote(best: Mapping[str, Outcome]) -> str | None:
    """The scale that is clearly better than another one, by the best of each."""
    ranked = sorted(best, key=lambda scale: best[scale].error or 0.0)
    if len(ranked) < 2:
        return None
    better, worse = best[ranked[0]], best[ranked[1]]
    margin = CLEARLY if better.trial.rung <= worse.trial.rung else MORE_ROWS
    return ranked[0] if (better.error or 0.0) < margin * (worse.error or 0.0) else None


def _standing(outcome: Outcome) -> tuple[int, float]:
    """The higher rung first, then the smaller error."""
    return -outcome.trial.rung, outcome.error or 0.0


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
