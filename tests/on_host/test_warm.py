"""A new search begins with what an old bundle is made of, where that is for the same target and task."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lepton_ray.errors import BundleError
from lepton_ray.models.registry import family
from lepton_ray.on_host.opening import idle_families, portfolio_of
from lepton_ray.on_host.warm import Warm
from lepton_ray.search.portfolio import Place
from lepton_ray.search.priors import shipped_priors
from lepton_ray.table.schema import Problem, Task
from tests.on_host.rows import spec
from tests.on_host.test_finishing import searched
from tests.on_host.test_readers import reader
from tests.sealed import seal

BINARY = Problem("left", Task.BINARY, ("no", "yes"), "roc_auc", "yes")


def warm(bundle: Path | None, **options: Any) -> Warm | None:
    return Warm.of(replace(spec(Path("t.csv"), **options), warm_start=None if bundle is None else str(bundle)))


@pytest.mark.exam
def test_the_configurations_are_those_that_the_search_gave_out_not_what_the_fit_made_of_them(tmp_path: Path) -> None:
    made = searched(tmp_path, trials=5, families="linear,lightgbm")
    made.finish(members=3)
    found = warm(made.course.folder.bundle)
    assert found is not None and found.task is Task.BINARY
    tried = [(one.trial.family, one.trial.config) for one in made.desk.outcomes()]
    assert found.entries and all(entry in tried for entry in found.entries)
    assert all(name in found.sentence for name, _ in found.entries)


def test_a_bundle_that_does_not_say_gives_the_configuration_of_its_members(tmp_path: Path) -> None:
    bundle = seal(tmp_path / "b")
    found = warm(tmp_path / "b", target="leaves")
    assert found is not None and found.entries == (("lightgbm", dict(bundle.manifest.members[0].config)),)
    assert warm(None) is None


def test_they_follow_the_constant_once_and_only_where_the_family_is_there() -> None:
    families = {name: family(name) for name in ("constant", "linear", "lightgbm")}
    shipped = shipped_priors().portfolio
    listed = portfolio_of(shipped, families, BINARY, Place(1000, 5, 2))
    late = listed[-1]
    entries = [("lightgbm", {"num_leaves": 7}), ("svm", {}), late, ("linear", {"C": 0.5})]
    order = portfolio_of(shipped, families, BINARY, Place(1000, 5, 2), warm=entries)
    assert order[:4] == (("constant", {}), entries[0], late, entries[3])
    assert order.count(late) == 1 and set(order_of(order[4:])) == set(order_of(listed)) - set(order_of(order[:4]))


def test_what_was_recorded_and_brought_nothing_comes_after_all_that_was_mined() -> None:
    families = {name: family(name) for name in ("constant", "linear", "lightgbm", "knn")} | {"text_cnn": reader}
    place, shipped = Place(39_000, 14, 2), shipped_priors()
    mined = replace(shipped.portfolio, orders=tuple((at, (0,)) for at, _ in shipped.portfolio.orders))
    mined = replace(mined, configs=(("lightgbm", {"num_leaves": 9}),))
    priors = replace(shipped, portfolio=mined)
    idle = idle_families(priors, families, BINARY, place)
    assert idle == {"knn"}, "what is tried first anyhow and what reads texts is not judged by it"
    order = [name for name, _ in portfolio_of(mined, families, BINARY, place, idle=idle)]
    assert order.index("lightgbm") < order.index("text_cnn") < order.index("knn")
    unrecorded = [name for name, _ in portfolio_of(mined, families, BINARY, place)]
    assert unrecorded.index("knn") < order.index("knn")
    far = Place(39_000, 10**9, 2)
    assert not mined.reaches(far) and not idle_families(priors, families, BINARY, far)


def order_of(entries: Any) -> list[str]:
    return [repr(entry) for entry in entries]


def test_another_target_or_task_is_refused(tmp_path: Path) -> None:
    seal(tmp_path / "b", "regression")
    with pytest.raises(BundleError, match="predicts 'value', not 'left'"):
        warm(tmp_path / "b")
    found = warm(tmp_path / "b", target="value")
    assert found is not None
    found.check_task(Task.REGRESSION)
    with pytest.raises(BundleError, match="is for a regression task, not for binary"):
        found.check_task(Task.BINARY)
    with pytest.raises(BundleError, match="not a bundle"):
        warm(tmp_path)
