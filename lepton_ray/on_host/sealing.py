"""Keeps the best bundle so far where the supervisor finds it, with the facts to hand over. It decides nothing.

``result.json`` is written after the bundle's link was swapped, so it never names a bundle that is not there.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lepton_ray.bundle.manifest import Manifest, read_manifest
from lepton_ray.on_host.run_folder import RunFolder

Facts = dict[str, Any]


class Sealer:
    """Adopts sealed bundles and writes the result as it would be if the run ended now."""

    def __init__(self, folder: RunFolder, fixed: Facts, clock: Callable[[], float]) -> None:
        """``fixed`` are the keys of the result that do not change: run, task, metric, budget_usd, …

        ``taken`` says which bundle was sealed last, by where it lay before it was moved to its place.
        """
        self._folder = folder
        self._facts = dict(fixed)
        self._clock = clock
        self.bundle_id: str | None = None
        self.taken: Path | None = None

    def seal(self, bundle: Path, held_out: Facts, *, trials: int) -> None:
        """Make ``bundle`` the run's bundle, from now on the one that is handed over."""
        self.bundle_id, manifest = read_manifest(bundle)
        self.taken = bundle
        home = self._folder.adopt(bundle, self.bundle_id)
        self._tell(home, manifest, held_out, trials)

    def go_on(self, *, trials: int) -> None:
        """Tell of the bundle that an earlier leg of the run has left in its place."""
        self.bundle_id, manifest = read_manifest(self._folder.bundle)
        self._tell(self._folder.bundle.resolve(), manifest, manifest.facts, trials)

    @property
    def place(self) -> Path:
        """Where the bundle that is handed over lies."""
        return self._folder.bundle

    def _tell(self, home: Path, manifest: Manifest, held_out: Mapping[str, Any], trials: int) -> None:
        self.update(
            bundle=str(self._folder.bundle),
            bundle_id=self.bundle_id,
            bundle_folder=str(home),
            score=held_out["score"],
            score_interval=held_out["interval"],
            score_how=held_out["how"],
            threshold=manifest.threshold,
            trials=trials,
        )

    def update(self, **facts: Any) -> None:
        """Change facts of the result and write it."""
        self._facts.update(facts)
        self._facts["wall_seconds"] = round(self._clock(), 3)
        self._folder.write_json("result.json", self._facts)

    @property
    def facts(self) -> Facts:
        return dict(self._facts)
