"""The spec: every flag and every YAML key arrives, and what is wrong is refused by name before anything is done."""

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.errors import DataError, LeptonError, MoneyError, UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.prices import machine_price
from lepton_ray.on_host.course import limits
from lepton_ray.spec import RunSpec, Surroundings, text_of_file

AROUND = Surroundings(started=0.0, run_id="r1", wall_fd=None, cpus=2, vcpus=2)
EVERY = {
    "table": "t.csv",
    "target": "left",
    "budget": "0.02 usd",
    "deadline": "5m",
    "task": "binary",
    "metric": "roc_auc",
    "positive": "yes",
    "drop": ("id", "note"),
    "types": {"a": "category", "b": "date"},
    "plan": "plan.json",
    "weight": "w",
    "group": "g",
    "time": "day",
    "test": "test.csv",
    "value": "value.yaml",
    "price": "0.1",
    "families": ("linear", "mine:Own"),
    "seed": 7,
    "out": "there",
    "serve": "30s",
    "port": 8080,
    "spend_it_all": True,
    "max_latency": "20ms",
    "max_usd_per_1000": "0.0005",
    "priors": "mined",
    "warm_start": "lepton-runs/old/bundle",
    "onnx": True,
    "address": "auto",
    "spot": False,
    "margins": False,
    "json": True,
}


def spec(**options: Any) -> RunSpec:
    return RunSpec.from_options({"table": "t.csv", "target": "left"} | options)


def from_yaml(folder: Path, text: str, **options: Any) -> RunSpec:
    path = folder / "run.yaml"
    path.write_text(text)
    return RunSpec.from_options(options, str(path))


def test_every_option_is_in_this_test() -> None:
    assert {field.name for field in fields(RunSpec)} == EVERY.keys()


def test_every_option_arrives() -> None:
    found = RunSpec.from_options(EVERY)
    assert {name: getattr(found, name) for name in EVERY} == EVERY | {"types": (("a", "category"), ("b", "date"))}


def test_flags_are_words() -> None:
    words = EVERY | {"drop": "id, note,", "types": "a=category,b=date", "families": "linear,mine:Own"}
    assert RunSpec.from_options(words | {"seed": "7", "port": "8080"}) == RunSpec.from_options(EVERY)


def test_the_same_from_yaml(tmp_path: Path) -> None:
    text = """
table: t.csv
target: left
budget: 0.02 usd
deadline: 5m
task: binary
metric: roc_auc
positive: yes
drop: [id, note]
types: {a: category, b: date}
plan: plan.json
weight: w
group: g
time: day
test: test.csv
value: value.yaml
price: 0.1
families: linear,mine:Own
seed: 7
out: there
serve: 30s
port: 8080
spend-it-all: true
max_latency: 20ms
max-usd-per-1000: 0.0005
priors: mined
warm_start: lepton-runs/old/bundle
onnx: true
address: auto
spot: false
margins: false
json: true
"""
    assert from_yaml(tmp_path, text) == RunSpec.from_options(EVERY)


def test_what_a_run_writes_can_be_given_back(tmp_path: Path) -> None:
    for one in (RunSpec.from_options(EVERY), spec()):
        assert from_yaml(tmp_path, json.dumps(one.to_dict(), indent=2)) == one


def test_yaml_keeps_what_was_written(tmp_path: Path) -> None:
    found = from_yaml(tmp_path, "table: t.csv\ntarget: 21\npositive: no\nbudget: 0.10\ndrop: [1, on, 2020-01-01]\n")
    assert (found.target, found.positive, found.budget) == ("21", "no", "0.10")
    assert found.drop == ("1", "on", "2020-01-01")


def test_names_may_hold_commas_in_a_list(tmp_path: Path) -> None:
    text = 'table: t.csv\ntarget: left\ndrop: ["a, b"]\ntypes: {"x=1, y": number}\n'
    found = from_yaml(tmp_path, text)
    assert found.drop == ("a, b",) and found.types == (("x=1, y", "number"),)


def test_a_flag_wins_over_the_file_and_blank_keys_are_not_given(tmp_path: Path) -> None:
    text = "table: t.csv\ntarget: left\nseed: 3\nmetric:\ntask: null\nserve-for: 3s\n"
    with pytest.raises(UsageError, match="serve_for"):
        from_yaml(tmp_path, text)
    found = from_yaml(tmp_path, text.replace("serve-for: 3s", "serve: 3s"), seed=5, budget=None)
    assert (found.seed, found.metric, found.task, found.serve) == (5, "auto", "auto", "3s")


@pytest.mark.parametrize(
    "written, meant, seconds",
    [
        ("serve", "serve", None),
        ("true", "serve", None),
        ("no-serve", "no-serve", None),
        ("no", "no-serve", None),
        ("1m30s", "1m30s", 90.0),
    ],
)
def test_serve_is_a_word_or_a_time(tmp_path: Path, written: str, meant: str, seconds: float | None) -> None:
    found = from_yaml(tmp_path, f"table: t.csv\ntarget: left\nserve: {written}\n")
    assert (found.serve, found.serve_seconds, found.serves) == (meant, seconds, meant != "no-serve")


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "no table": ({"table": None}, "No table", "TABLE"),
    "no target": ({"target": ""}, "No target", "--target"),
    "unknown key": ({"tarrget": "x"}, "unknown key 'tarrget'", "'target'"),
    "unknown task": ({"task": "binery"}, "no task 'binery'", "'binary'"),
    "unknown metric": ({"metric": "auc"}, "no metric 'auc'", "'roc_auc'"),
    "strange metric": ({"metric": "q"}, "no metric 'q'", "roc_auc"),
    "unknown family": ({"families": "linaer"}, "no model family 'linaer'", "linear"),
    "unknown kind": ({"types": "a=nummber"}, "unknown kind 'nummber'", "number"),
    "types without kind": ({"types": "a"}, "'a', which is not column=kind", "a=category"),
    "types without column": ({"types": "=date"}, "'=date', which is not column=kind", "a=category"),
    "drop of a number": ({"drop": 7}, "no list", "A,B"),
    "drop of a mapping": ({"drop": {"a": 1}}, "no list", "A,B"),
    "drop of lists": ({"drop": [["a"]]}, "not one word", "Churn"),
    "list for a word": ({"weight": ["a"]}, "--weight is ['a']", "Churn"),
    "truth for a word": ({"group": True}, "--group is True", "Churn"),
    "seed of letters": ({"seed": "x"}, "--seed is 'x', which is not a whole number", "7"),
    "seed of a half": ({"seed": 1.5}, "--seed is '1.5', which is not a whole number", "7"),
    "seed below": ({"seed": -1}, "--seed is -1, outside", "0"),
    "seed above": ({"seed": 2**32}, "outside 0 to 4294967295", "4294967295"),
    "port above": ({"port": 65536}, "--port is 65536", "65535"),
    "port below": ({"port": 0}, "--port is 0", "65535"),
    "serve for nonsense": ({"serve": "soon"}, "'soon', which is no time", "30s"),
    "serve for nothing": ({"serve": "0s"}, "'0s', which is no time", "30s"),
    "json of nonsense": ({"json": "perhaps"}, "neither true nor false", "true"),
    "target dropped": ({"drop": "id,left"}, "'left' is the --target and cannot be --drop", "Leave"),
    "target as weight": ({"weight": "left"}, "cannot be --weight", "Leave"),
    "target as group": ({"group": "left"}, "cannot be --group", "Leave"),
    "target as time": ({"time": "left"}, "cannot be --time", "Leave"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_a_way_to_mend_it(name: str) -> None:
    options, what, hint = WRONG[name]
    with pytest.raises(UsageError) as caught:
        spec(**options)
    assert what in caught.value.what and hint in caught.value.hint


@pytest.mark.parametrize(
    "text, told",
    [
        (None, "No such file"),
        ("a: [1\n", "is not YAML in line 2"),
        ("- a\n", "holds no keys"),
        ("[" * 600, "is nested too deeply"),
        ("", "holds no keys"),
        ("tabel: x\n", "unknown key 'tabel'"),
        ("target: {a: 1}\ntable: x\n", "--target is {'a': '1'}"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "run.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError) as caught:
        RunSpec.from_options({}, str(path))
    assert told in caught.value.what and caught.value.hint
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UsageError, match="UTF-8"):
        RunSpec.from_options({}, str(path))


MONEY = {
    "negative budget": ({"budget": "-1"}, "The budget '-1' is negative"),
    "no budget": ({"budget": "0"}, "not above zero"),
    "absurd budget": ({"budget": "1e30"}, "absurdly large"),
    "budget of words": ({"budget": "a lot"}, "The budget 'a lot' is not an amount"),
    "negative deadline": ({"deadline": "-5s"}, "The deadline '-5s' is not longer than zero"),
    "no deadline": ({"deadline": "0"}, "not longer than zero"),
    "absurd deadline": ({"deadline": "90d"}, "longer than 30 days"),
    "deadline of words": ({"deadline": "soon"}, "The deadline 'soon' is not a time"),
    "negative price": ({"price": "-1"}, "The price '-1' is negative"),
    "price of nothing": ({"price": "0"}, "not above zero"),
}


@pytest.mark.parametrize("name", MONEY)
def test_wrong_money_is_refused(name: str) -> None:
    options, what = MONEY[name]
    with pytest.raises(MoneyError) as caught:
        limits(spec(**options), AROUND)
    assert what in caught.value.what and caught.value.hint


@pytest.mark.parametrize(
    "options, hint",
    [
        ({"deadline": "5s"}, "Give --deadline 8s or more."),
        ({"budget": "0.0001"}, "Give --budget 0.000214 or more."),
        ({"budget": "0.0001", "deadline": "5s"}, "Give --budget 0.000214 and --deadline 8s or more."),
        ({"budget": "0.0001", "deadline": "1h"}, "Give --budget 0.000214 or more."),
    ],
)
def test_too_little_is_refused_with_the_smallest_of_what_was_given(options: dict[str, str], hint: str) -> None:
    with pytest.raises(MoneyError) as caught:
        limits(spec(**options), AROUND)
    assert caught.value.hint == hint
    words = hint.removesuffix(".").split()
    enough = {name: words[words.index(f"--{name}") + 1] for name in options if f"--{name}" in words}
    limits(spec(**(options | enough)), AROUND)


def test_an_endpoint_needs_its_time() -> None:
    for serve in ("serve", "5s"):
        with pytest.raises(MoneyError, match="one with an endpoint needs 23s.*--no-serve"):
            limits(spec(deadline="15s", serve=serve), AROUND)
        limits(spec(deadline="23s", serve=serve), AROUND)
    limits(spec(deadline="15s", serve="no-serve"), AROUND)
    limits(spec(serve="serve"), AROUND)


def test_without_limits_there_is_a_minute() -> None:
    _, budget = limits(spec(), AROUND)
    assert (budget.wall_seconds, str(budget.dollars)) == (60.0, "$0.0016")
    _, dearer = limits(spec(price="0.96"), AROUND)
    assert dearer.per_hour.micros == 960_000 and dearer.wall_seconds == 60.0


def test_a_runs_folder_is_where_it_was_asked_for_or_named_after_the_run() -> None:
    assert spec(out="a/b").folder("r1") == Path("a/b") and spec().folder("r1") == Path("lepton-runs/r1")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"\xff\xff")
    for path, told in {"none": "does not exist", ".": "Is a directory", "odd": "not UTF-8"}.items():
        with pytest.raises(DataError, match=told):
            text_of_file(str(tmp_path / path), "The plan")


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    names = ["a,b", 'say "x"', "é😀\x85\u2028", "a=b: #c", "~"]
    given_ = {"table": "t.csv", "target": "null", "drop": names, "types": {names[2]: "text"}, "seed": 7, "budget": None}
    (tmp_path / "spec.json").write_text(json.dumps(given_, indent="\t"), encoding="utf-8")
    found = RunSpec.from_options({}, str(tmp_path / "spec.json"))
    assert found == spec(target="null", drop=names, types={names[2]: "text"}, seed=7)
    (tmp_path / "spec.json").write_text('{"table": "t.csv",\n')
    with pytest.raises(UsageError, match="is not JSON in line 2"):
        RunSpec.from_options({}, str(tmp_path / "spec.json"))


words = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(EVERY)), anything, max_size=6))
def test_whatever_is_given_is_a_spec_or_a_sentence(options: dict[str, Any]) -> None:
    try:
        found = spec(**options)
    except LeptonError as fault:
        assert isinstance(fault, UsageError) and fault.what and fault.hint
    else:
        assert RunSpec.from_options(found.to_dict()) == found


def test_the_slowest_prediction_follows_from_the_tighter_limit() -> None:
    machine = machine_price(4, override=Dollars.parse("0.36"))  # 0.000025 dollars per core and second
    assert spec().row_seconds(machine) == math.inf
    assert spec(max_latency="20ms").row_seconds(machine) == pytest.approx(0.02)
    assert spec(max_usd_per_1000="0.0005").row_seconds(machine) == pytest.approx(0.02)
    assert spec(max_usd_per_1000="0.0005", max_latency="5ms").row_seconds(machine) == pytest.approx(0.005)
    for wrong in ({"max_latency": "soon"}, {"max_usd_per_1000": "little"}):
        with pytest.raises(MoneyError):
            spec(**wrong).row_seconds(machine)
