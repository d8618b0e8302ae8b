"""The cost model: it finds a law that is known, covers tables it has not seen, and learns from what ends here."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from lepton_ray.search.cost import PROBE_WIDTH, SHORTEST_SECONDS, CostModel, CostPrior, Kin, Size
from lepton_ray.search.cost_mining import Timed, mine_prior, timed_trials
from lepton_ray.search.priors import shipped_priors
from lepton_ray.search.probe import probe
from tests.search.recording import STAMP, lawful

STAMPS = {STAMP.id: STAMP}
SIZE = Size(1e7, 5000, 20, 2)


@pytest.fixture(scope="module")
def trials() -> list[Timed]:
    return timed_trials(lawful(10), STAMPS)


@pytest.fixture(scope="module")
def prior(trials: list[Timed]) -> CostPrior:
    return mine_prior(trials, STAMP.probe_seconds)


def test_the_law_is_found(prior: CostPrior) -> None:
    trees, lines = prior.laws["trees"], prior.laws["lines"]
    assert trees.mean[1] == pytest.approx(1.0, abs=0.05)
    assert trees.noise == pytest.approx(0.4**2, rel=0.2)
    level = trees.mean[0] - trees.mean @ trees.centre - lines.mean[0] + lines.mean @ lines.centre
    assert level == pytest.approx(np.log(10.0), abs=0.7)
    assert prior.shared == pytest.approx(0.5**2, rel=0.7)


@pytest.mark.exam
def test_nine_in_ten_lie_under_the_quantile_on_tables_that_were_not_seen(trials: list[Timed]) -> None:
    ratios = []
    for name in sorted({one.table for one in trials}):
        model = CostModel.begin(mine_prior([one for one in trials if one.table != name], STAMP.probe_seconds))
        for trial in (one for one in trials if one.table == name):
            ratios.append(model.quantile(trial.family, trial.size) / trial.seconds)
            model = model.observe(trial.family, trial.size, trial.seconds)
    assert len(ratios) >= 300
    assert 0.85 <= np.mean(np.array(ratios) >= 1) <= 0.95
    assert np.median(ratios) <= 2.0


def test_what_is_learned_from_one_family_counts_for_the_others(prior: CostPrior) -> None:
    before = CostModel.begin(prior)
    after = before.observe("trees", SIZE, 3 * before.quantile("trees", SIZE, 0.5))
    assert after.quantile("trees", SIZE, 0.5) > 1.5 * before.quantile("trees", SIZE, 0.5)
    assert after.quantile("lines", SIZE, 0.5) > 1.1 * before.quantile("lines", SIZE, 0.5)
    assert before.quantile("trees", SIZE) == CostModel.begin(prior).quantile("trees", SIZE)


def test_trials_narrow_the_quantile(prior: CostPrior) -> None:
    model = CostModel.begin(prior)
    widths = [model.quantile("trees", SIZE) / model.quantile("trees", SIZE, 0.5)]
    for _ in range(20):
        model = model.observe("trees", SIZE, 100.0)
        widths.append(model.quantile("trees", SIZE) / model.quantile("trees", SIZE, 0.5))
    assert widths[0] > widths[5] > widths[20] > 1.0
    assert model.quantile("trees", SIZE, 0.5) == pytest.approx(100.0, rel=0.1)


def test_a_family_that_nobody_recorded_is_wide_and_then_scales_with_its_work(prior: CostPrior) -> None:
    model, small = CostModel.begin(prior), Size(40.0, 5000, 20, 2)
    assert model.quantile("mine:Own", small) > 4 * model.quantile("mine:Own", small, 0.5)
    model = model.observe("mine:Own", small, 0.5)
    assert 0.25 < model.quantile("mine:Own", small, 0.5) < 0.6
    ten_times = Size(400.0, 5000, 20, 2)
    assert model.quantile("mine:Own", ten_times, 0.5) == pytest.approx(
        10 * model.quantile("mine:Own", small, 0.5), rel=0.3
    )


def test_a_promotion_takes_what_its_parent_took_beside_the_law(prior: CostPrior) -> None:
    alike = replace(prior.laws["trees"], kinship=0.9)
    model = CostModel.begin(replace(prior, laws={**prior.laws, "trees": alike}))
    small, large = Size(1e6, 500, 20, 2), Size(1e7, 5000, 20, 2)
    usual = model.quantile("trees", small, 0.5)
    slow, quick = (model.quantile("trees", large, 0.5, Kin(small, usual * factor)) for factor in (4.0, 0.25))
    expected = model.quantile("trees", large, 0.5)
    assert slow == pytest.approx(expected * 4.0**0.9) and quick == pytest.approx(expected / 4.0**0.9)
    assert model.predict("trees", large, Kin(small, usual))[1] < model.predict("trees", large)[1]
    assert model.quantile("trees", large, 0.5, Kin(replace(small, fits=3), 3 * usual)) == pytest.approx(expected)


@pytest.mark.exam
def test_how_alike_promotions_are_is_mined() -> None:
    rng = np.random.default_rng(0)

    def trials(alike: float) -> list[Timed]:
        found = []
        for number in range(200):
            own = rng.normal()
            for rung, rows in enumerate((500, 5000)):
                beside = alike * own + np.sqrt(1 - alike**2) * rng.normal()
                size = Size(1e3 * rows * (1 + number % 7), rows, 10, 2)
                name = f"t{number % 5}"
                found.append(
                    Timed("trees", name, size, 1e-6 * size.work * np.exp(0.3 * beside), ("trees", f"{number}"), rung)
                )
        return found

    for alike in (0.0, 0.8):
        assert mine_prior(trials(alike), 1.0).laws["trees"].kinship == pytest.approx(alike**2, abs=0.15)


def test_a_stall_is_not_a_law(prior: CostPrior) -> None:
    model = CostModel.begin(prior)
    for _ in range(10):
        model = model.observe("trees", SIZE, 1.0)
    stalled = model.observe("trees", SIZE, 10_000.0)
    assert stalled.quantile("trees", SIZE, 0.5) < 2.0 * model.quantile("trees", SIZE, 0.5)


def test_fits_and_a_slow_machine_multiply(prior: CostPrior) -> None:
    one = CostModel.begin(prior).quantile("trees", SIZE)
    assert CostModel.begin(prior).quantile("trees", Size(1e7, 5000, 20, 2, fits=5)) == pytest.approx(5 * one)
    assert CostModel.begin(prior, 2 * prior.probe_seconds).quantile("trees", SIZE) == pytest.approx(2 * one)
    assert PROBE_WIDTH > 0


def test_the_prior_survives_json(prior: CostPrior) -> None:
    back = CostPrior.from_dict(json.loads(json.dumps(prior.to_dict())))
    assert back.to_dict() == prior.to_dict()
    assert CostModel.begin(back).quantile("trees", SIZE) == CostModel.begin(prior).quantile("trees", SIZE)


def test_records_of_two_machines_are_brought_to_one_speed() -> None:
    slow, records = replace(STAMP, id="slow", probe_seconds=3 * STAMP.probe_seconds), list(lawful(2))
    mixed = [replace(one, stamp="slow", fit_seconds=3 * one.fit_seconds) for one in records[1::2]]
    taken = {(one.table, one.size): one.seconds for one in timed_trials(records, STAMPS)}
    both = timed_trials(records[::2] + mixed, {**STAMPS, "slow": slow})
    assert {(one.table, one.size): pytest.approx(one.seconds) for one in both} == taken


@pytest.mark.parametrize("work", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_work_is_refused(work: float) -> None:
    with pytest.raises(ValueError, match="work must be positive"):
        Size(work, 10, 10)


def test_the_shipped_prior_is_sane() -> None:
    model = CostModel.begin(shipped_priors().costs, probe(time.process_time))
    for family in ("linear", "lightgbm"):
        assert family in shipped_priors().costs.laws
        assert 1e-4 < model.quantile(family, Size(1e8, 5000, 20, 2)) < 600.0


def test_below_a_twentieth_of_a_second_there_is_no_law(prior: CostPrior) -> None:
    tiny, model = Size(1.0, 50, 4, 2), CostModel.begin(prior)
    assert model.quantile("trees", tiny) == pytest.approx(SHORTEST_SECONDS)
    assert model.quantile("trees", replace(tiny, fits=5)) == pytest.approx(5 * SHORTEST_SECONDS)
    after = model.observe("trees", tiny, 0.01)
    assert after.quantile("trees", SIZE, 0.5) == pytest.approx(model.quantile("trees", SIZE, 0.5)), "a clock is no law"


def test_what_a_family_says_of_itself_is_its_start_whatever_others_took(prior: CostPrior) -> None:
    model, said = CostModel.begin(prior, 9 * prior.probe_seconds), Size(40.0, 5000, 20, 2, seconds=30.0)
    assert model.quantile("mine:Own", said, 0.5) == pytest.approx(30.0)
    for _ in range(3):
        model = model.observe("trees", SIZE, 100 * model.quantile("trees", SIZE, 0.5))
    assert model.quantile("mine:Own", said, 0.5) == pytest.approx(30.0)
    model = model.observe("mine:Own", said, 10.0)
    assert 10.0 < model.quantile("mine:Own", said, 0.5) < 20.0
    assert model.quantile("trees", replace(SIZE, seconds=0.001)) == model.quantile("trees", SIZE)
