"""A new search from an old bundle: the configurations that its models came from are tried first. It loads no model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_ray.errors import BundleError
from lepton_ray.spec import RunSpec
from lepton_ray.table.schema import Task

Entry = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Warm:
    """What an earlier bundle is made of, as its search began it: (family, configuration), the largest share first."""

    bundle: str
    task: Task
    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, spec: RunSpec) -> "Warm | None":
        """Of the bundle that the spec names, if it does.

        Raises:
            BundleError: it is no bundle, or for another target.
        """
        if spec.warm_start is None:
            return None
        from lepton_ray.bundle.manifest import read_manifest  # late: most runs begin with nothing

        _, manifest = read_manifest(Path(spec.warm_start).expanduser())
        target = manifest.problem.target
        if target != spec.target:
            raise BundleError(
                f"The bundle {spec.warm_start} predicts '{target}', not '{spec.target}' (--warm-start).",
                "Give a bundle for this target, or leave it out.",
            )
        origin: list[Mapping[str, Any]] = list(manifest.facts.get("origin", ()))
        made = origin or [{"family": member.family, "config": member.config} for member in manifest.members]
        entries = tuple((str(one["family"]), dict(one["config"])) for one in made)
        return cls(spec.warm_start, manifest.problem.task, entries)

    def check_task(self, task: Task) -> None:
        """Refuse a bundle for another task.

        Raises:
            BundleError: it is one.
        """
        if task is not self.task:
            raise BundleError(
                f"The bundle {self.bundle} is for a {self.task.value} task, not for {task.value} (--warm-start).",
                "Give a bundle for this task, or say which it is with --task.",
            )

    @property
    def sentence(self) -> str:
        """What is tried first."""
        return f"the search begins with what {self.bundle} is made of: {', '.join(name for name, _ in self.entries)}"
