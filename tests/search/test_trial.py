"""A trial and its outcome survive JSON, whatever they hold."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.search.trial import DONE, Outcome, Trial

names = st.text(min_size=1, max_size=8)
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names | st.lists(st.integers())
configs = st.dictionaries(names, values, max_size=4)
numbers = st.floats(allow_nan=False, allow_infinity=False)
trials = st.builds(Trial, names, names, configs, st.integers(0, 3), st.none() | names)
outcomes = st.builds(
    Outcome,
    trials,
    st.just(DONE),
    names,
    numbers,
    numbers,
    error=st.none() | numbers,
    score=st.none() | numbers,
    effort=configs,
    reason=names,
    bundle=st.none() | names,
    held_out=st.none() | configs,
)


@given(trials)
def test_a_trial_comes_back(trial: Trial) -> None:
    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial


@given(outcomes)
def test_an_outcome_comes_back(outcome: Outcome) -> None:
    back = Outcome.from_dict(json.loads(json.dumps(outcome.to_dict())))
    assert back == outcome
    assert back.usable == (outcome.error is not None)
