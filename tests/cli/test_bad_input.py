"""Every bad input that the first issue lists, and some more, through the command line, as a table.

Each gets one clear sentence and a way to mend it, its exit code, no traceback, and leaves nothing half-written. What
can be used all the same is used, and said. Most go through the command line within this process; one of each exit code
goes through the real one, from exec to exit.
"""

import gzip
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyarrow import csv
from typer.testing import CliRunner

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.cli.main import app
from tests.cli.conftest import Inside
from tests.cli.lepton import lepton
from tests.examples import one_in
from tests.outside import Done
from tests.sealed import raw_table, seal

SIXTY = [[n % 13, "abc"[n * 7 % 3], round(n * 0.37 % 1, 3), "yes" if n * 5 % 7 < 3 else "no"] for n in range(60)]
HEAD = ["age", "city", "x", "left"]


def text(rows: list[list[Any]] = SIXTY, head: list[str] = HEAD, sep: str = ",") -> str:
    return "".join(sep.join(map(str, row)) + "\n" for row in [head, *rows])


def ending(*last: Any) -> str:
    """The table with other values in its last column, turn by turn."""
    return text([[*row[:3], last[n % len(last)]] for n, row in enumerate(SIXTY)])


def dirty() -> str:
    """A table with a column of every kind of dirt that is no reason to refuse it."""
    head = ["age", "blank", "unique", "far", "mixed", "long", "day", "left"]
    rows = [
        [
            *(n % 13, "", f"u{n}x", "inf" if n == 3 else n / 7, "many" if n % 3 else n % 5),
            *(10**25 + n % 9, "2021-02-30" if n == 5 else f"2021-03-{n % 28 + 1:02d}", SIXTY[n][3]),
        ]
        for n in range(60)
    ]
    return text(rows, head)


def workbook() -> bytes:
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as book:
            book.writestr("[Content_Types].xml", "<Types/>")
            book.writestr("xl/workbook.xml", "<workbook/>")
        file.seek(0)
        return file.read()


LATIN = [[n % 13, "Köln" if n % 2 else "Ulm", 0.5 * n, SIXTY[n][3]] for n in range(60)]
FILES: dict[str, str | bytes] = {
    "good.csv": text(),
    "empty.csv": "",
    "header.csv": text([]),
    "picture.csv": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
    "noise.csv": random.Random(0).randbytes(4000),
    "page.csv": "<!doctype html><html><body>Not found</body></html>\n",
    "prose.csv": "".join(f"{'It is, ' * (n * n % 7)}I fear, no table{', at all' * (n % 4)}.\n" for n in range(40)),
    "book.xlsx": workbook(),
    "broken.parquet": b"PAR1" + b"junk" * 100 + b"PAR1",
    "cut.csv.gz": gzip.compress(text().encode())[:-20],
    "twice.csv": text(head=["age", "age", "x", "left"]),
    "unnamed.csv": text(head=["age", "", "x", "left"]),
    "constant.csv": ending("yes"),
    "blank.csv": ending(""),
    "one_class_once.csv": ending(*["no"] * 59, "yes"),
    "one_row.csv": text(SIXTY[:1]),
    "one_column.csv": text([[row[3]] for row in SIXTY], ["left"]),
    "nothing_useful.csv": text([[1, "a", 2, "yes" if n % 2 else "no"] for n in range(60)]),
    "negative.csv": text([[-row[0], *row[1:]] for row in SIXTY]),
    "lacking.csv": text([[row[0], row[3]] for row in SIXTY], ["age", "left"]),
    "ragged.csv": text() + "1,2\n" + "5,a,0.5,yes,and,more\n",
    "dirty.csv": dirty(),
    "bom.csv": b"\xef\xbb\xbf" + text().encode(),
    "latin.csv": text(LATIN).encode("latin-1"),
    "utf16.csv": text(LATIN, sep=";").encode("utf-16"),
    "semicolon.csv": text(sep=";"),
    "tab.csv": text(sep="\t"),
    "quoted.csv": text([[row[0], f'"{row[1]}\nand ""more"", so"', *row[2:]] for row in SIXTY]),
    "list.json": '[{"a": 1}, {"a": 2}]',
    "unknown_key.yaml": "tabel: good.csv\ntarget: left\n",
    "broken.yaml": "table: [1\n",
    "value.yaml": "true_postive: 5\n",
    "number_value.yaml": "unit_of_error: 5\ndecisions_per_year: 100\n",
    "broken_plan.json": "{",
    "hollow_plan.json": '{"version": 1}',
    "in_the_way": "a file",
}


@dataclass(frozen=True)
class Case:
    """A command line, its exit code, words that its sentence and its hint hold; ``made``: a run's folder is left."""

    words: str
    code: int
    what: str
    hint: str = ""
    made: bool = False
    before: tuple[str, ...] = ()


def bad(words: str, code: int, what: str, hint: str = "", *, made: bool = False) -> Case:
    return Case(words, code, what, hint, made)


def table(name: str, what: str, hint: str = "", more: str = "") -> Case:
    """A table that cannot be learned from: found out when it is read, so the run's folder says why it failed."""
    return Case(f"{name} --target left {more}", 3, what, hint, made=True)


def unfit(option: str, what: str, hint: str = "") -> Case:
    """An option that does not fit the target: found out when the table is read."""
    return Case(f"good.csv --target left {option}", 2, what, hint, made=True)


GOOD = "good.csv --target left"
UNREADABLE = "/proc/self/mem"  # there, and not to be read, also by root
REFUSED: dict[str, Case] = {
    "missing file": bad("none.csv --target left", 3, "no file none.csv", "path"),
    "unreadable file": table(UNREADABLE, "/proc/self/mem cannot be read"),
    "folder without tables": table("nothing", "folder nothing holds no tables", ".csv"),
    "empty": table("empty.csv", "empty.csv is empty", "header"),
    "header only": table("header.csv", "header.csv has a header but no rows", "rows"),
    "a picture": table("picture.csv", "picture.csv is a PNG picture, not a table", "CSV"),
    "noise": table("noise.csv", "noise.csv is not a table", "CSV"),
    "a web page": table("page.csv", "page.csv is a web page, not a table", "CSV"),
    "prose": table("prose.csv", "no column 'left'"),
    "an .xlsx": table("book.xlsx", "book.xlsx is an Excel workbook", "Save the sheet as CSV"),
    "broken parquet": table("broken.parquet", "broken.parquet cannot be read", "save it again"),
    "cut gzip": table("cut.csv.gz", "cut.csv.gz cannot be read", "gzip"),
    "one JSON array": table("list.json", "list.json is one JSON array", "JSON lines"),
    "duplicate names": table("twice.csv", "twice.csv: the column name 'age' occurs twice", "Rename"),
    "blank name": table("unnamed.csv", "unnamed.csv: column 2 of 4 has no name", "Name it"),
    "target missing": bad("good.csv --target lefft", 3, "no column 'lefft' (--target)", "left", made=True),
    "target constant": table("constant.csv", "The target 'left' is 'yes' in every row", "Choose another target"),
    "target all blank": table("blank.csv", "The target 'left' holds no value in any of 60 rows", "Choose another"),
    "class with one row": table("one_class_once.csv", "one row only of class 'yes'", "Remove or merge"),
    "one row": table("one_row.csv", "The table has 1 row", "Give more rows"),
    "one column": table("one_column.csv", "one column only ('left')", "delimiter"),
    "nothing useful": table("nothing_useful.csv", "No column is left to learn from", "--types"),
    "unknown metric": bad(f"{GOOD} --metric auc", 2, "no metric 'auc' (--metric)", "roc_auc"),
    "metric that does not fit": unfit("--metric rmse", "'rmse' does not fit a binary task", "roc_auc"),
    "unknown task": bad(f"{GOOD} --task binery", 2, "no task 'binery' (--task)", "binary"),
    "task that does not fit": unfit("--task regression", "holds words", "multiclass"),
    "unknown class": unfit("--positive maybe", "no class 'maybe'"),
    "negative budget": bad(f"{GOOD} --budget=-1", 4, "The budget '-1' is negative", "0.02"),
    "zero budget": bad(f"{GOOD} --budget 0", 4, "not above zero", "0.02"),
    "absurd budget": bad(f"{GOOD} --budget 1e30", 4, "The budget '1e30' is absurdly large", "0.02"),
    "unparsable budget": bad(f"{GOOD} --budget lots", 4, "The budget 'lots' is not an amount of money", "0.02"),
    "too small a budget": bad(
        f"{GOOD} --budget 0.00001", 4, "smallest run here needs", "Give --budget 0.000214 or more"
    ),
    "negative deadline": bad(f"{GOOD} --deadline=-5s", 4, "The deadline '-5s' is not longer than zero", "90s"),
    "zero deadline": bad(f"{GOOD} --deadline 0", 4, "not longer than zero", "90s"),
    "absurd deadline": bad(f"{GOOD} --deadline 90d", 4, "longer than 30 days", "90s"),
    "unparsable deadline": bad(f"{GOOD} --deadline soon", 4, "The deadline 'soon' is not a time", "90s"),
    "too short a deadline": bad(f"{GOOD} --deadline 5s", 4, "smallest run here needs", "Give --deadline 8s or more."),
    "too short for an endpoint": bad(f"{GOOD} --serve", 4, "one with an endpoint needs 23s", "--no-serve"),
    "bad price": bad(f"{GOOD} --price free", 4, "The price 'free' is not an amount of money", "0.02"),
    "output is a file": bad(f"{GOOD} --out in_the_way", 8, "in_the_way cannot be written: File exists", "--out"),
    "output below a file": bad(f"{GOOD} --out in_the_way/run", 8, "cannot be written: Not a directory", "--out"),
    "output not writable": bad(f"{GOOD} --out /proc/lepton", 8, "/proc/lepton cannot be written", "--out"),
    "output holds a run": bad(f"{GOOD} --out finished", 2, "finished already holds a run", "--out"),
    "port taken": bad(f"{GOOD} --serve --port PORT --deadline 60s", 8, "Port PORT on 127.0.0.1 is taken", "another"),
    "no port": bad(f"{GOOD} --serve --port 99999", 2, "--port is 99999", "65535"),
    "no time to serve": bad(f"{GOOD} --serve-for soon", 2, "'soon', which is no time (--serve-for)", "30s"),
    "unknown family": bad(f"{GOOD} --families linaer", 2, "no model family 'linaer' (--families)", "linear"),
    "family not there": bad(f"{GOOD} --families no.such:Own", 2, "'no.such:Own' cannot be imported", "", made=True),
    "unknown kind": bad(f"{GOOD} --types age=nummber", 2, "unknown kind 'nummber'", "number"),
    "kind of no column": table("good.csv", "no column 'agge'", "'age'", "--types agge=number"),
    "dropped column not there": table("good.csv", "no column 'cityy'", "'city'", "--drop cityy"),
    "target dropped": bad(f"{GOOD} --drop left", 2, "cannot be --drop", "Leave"),
    "everything dropped": table("good.csv", "No column is left", "", "--drop age,city,x"),
    "weight of words": table("good.csv", "The weight 'city' is missing or negative in 60 rows", "", "--weight city"),
    "weight negative": table("negative.csv", "The weight 'age' is missing or negative", "", "--weight age"),
    "one group": table("nothing_useful.csv", "of one group", "", "--group city --types age=number"),
    "time of words": table("good.csv", "The time column 'city' holds category values", "dates", "--time city"),
    "test file missing": table("good.csv", "no file none.csv", "", "--test none.csv"),
    "test file lacks a column": table("good.csv", "lacks the columns 'city', 'x'", "", "--test lacking.csv"),
    "plan missing": bad(f"{GOOD} --plan none.json", 3, "The plan none.json does not exist"),
    "plan broken": bad(f"{GOOD} --plan broken_plan.json", 3, "The plan broken_plan.json is not JSON"),
    "plan hollow": bad(f"{GOOD} --plan hollow_plan.json", 3, "hollow_plan.json has no field"),
    "plan a folder": bad(f"{GOOD} --plan nothing", 3, "The plan nothing cannot be read: Is a directory"),
    "value file missing": bad(f"{GOOD} --value none.yaml", 2, "none.yaml cannot be read"),
    "value file for a number": bad(
        f"{GOOD} --value number_value.yaml", 2, "prices the error of a number", "true_positive", made=True
    ),
    "value file of strange keys": bad(f"{GOOD} --value value.yaml", 2, "true_postive", "true_positive"),
    "spec missing": bad("--spec none.yaml", 2, "The spec none.yaml cannot be read"),
    "spec broken": bad("--spec broken.yaml", 2, "The spec broken.yaml is not YAML in line 2"),
    "spec of strange keys": bad("--spec unknown_key.yaml", 2, "unknown key 'tabel'", "'table'"),
    "seed of letters": bad(f"{GOOD} --seed x", 2, "--seed", "lepton run --help"),
    "unknown option": bad(f"{GOOD} --tarrget x", 2, "No such option: --tarrget", "lepton run --help"),
    "two tables": bad("good.csv good.csv --target left", 2, "unexpected extra argument", "lepton run --help"),
    "no table": bad("", 2, "No table was given", "lepton run TABLE"),
    "no target": bad("good.csv", 2, "No target was given", "--target"),
    "no such table of ours": bad("builtin:brest_cancer", 3, "no built-in table 'brest_cancer'", "breast_cancer"),
}

VERBS: dict[str, Case] = {
    "unknown verb": bad("rnu x", 2, "No such command 'rnu'", "lepton --help"),
    "no verb": bad("", 2, "No verb was given", "lepton --help"),
    "verb without its words": bad("predict", 2, "Missing argument", "lepton predict --help"),
    "receipt of no run": bad("receipt nosuchrun", 2, "no run 'nosuchrun'", "lepton runs"),
    "trials of no run": bad("trials nosuchrun --json", 2, "no run 'nosuchrun'", "lepton runs"),
    "report of no run": bad("report nosuchrun", 2, "no run 'nosuchrun'", "lepton runs"),
    "profile of no table": bad("profile none.csv", 3, "no file none.csv", "path"),
    "profile of a target not there": bad("profile good.csv --target lefft", 3, "'lefft'", "left"),
    "profile into no folder": bad("profile good.csv --target left --plan in_the_way/p.json", 8, "in_the_way/p.json"),
    "predict with no bundle": bad("predict nothing rows.csv --out p.csv", 6, "nothing"),
    "predict with a damaged bundle": bad("predict damaged rows.csv --out p.csv", 6, "damaged", ""),
    "predict with a tampered bundle": bad("predict tampered rows.csv --out p.csv", 6, "tampered", ""),
    "predict with a strange file in it": bad("predict crowded rows.csv --out p.csv", 6, "crowded", ""),
    "predict a table lacking a column": bad("predict bundle lacking.csv --out p.csv", 3, "tenure", ""),
    "predict no rows": bad("predict bundle header.csv --out p.csv", 3, "header.csv has a header but no rows"),
    "predict into a strange format": bad("predict bundle rows.csv --out p.xlsx", 2, "p.xlsx ends neither in", "format"),
    "predict into a file's folder": bad("predict bundle rows.csv --out in_the_way/p.csv", 8, "in_the_way/p.csv"),
    "keep a column not there": bad("predict bundle rows.csv --out p.csv --keep idd", 3, "`idd`"),
    "refit with rows that lack the target": bad("refit bundle lacking.csv --out new", 3, "'leaves'"),
    "refit onto a folder": bad("refit bundle rows.csv --out nothing", 6, "nothing exists already"),
    "refit of a damaged bundle": bad("refit damaged rows.csv --out new", 6, "damaged"),
    "serve a damaged bundle": bad("serve damaged", 6, "damaged"),
    "serve on a taken port": bad("serve bundle --port PORT", 8, "Port PORT on 127.0.0.1 is taken", "another"),
    "open a spec that is none": bad("run --spec nothing", 2, "The spec nothing cannot be read"),
}

READ = ("good.csv", "bom.csv", "latin.csv", "utf16.csv", "semicolon.csv", "tab.csv", "quoted.csv")


@dataclass(frozen=True)
class Place:
    """Where all cases are run: their files, a folder for temporary ones, and a port that is taken."""

    folder: Path
    temp: Path
    port: int
    first: frozenset[str]

    def words(self, words: str) -> list[str]:
        return words.replace("PORT", str(self.port)).split()

    def out(self, name: str) -> Path:
        return self.folder / "out" / name.replace(" ", "_").replace("/", "_")


def all_in(*folders: Path) -> Iterator[str]:
    """The path of each file and folder."""
    for folder in folders:
        for place, folders_there, files in os.walk(folder):
            yield from (os.path.join(place, name) for name in (*folders_there, *files))


def fill(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "nothing").mkdir()
    (folder / "finished").mkdir()
    (folder / "finished" / "ledger.jsonl").write_text("{}\n")
    rows = raw_table(50)
    header = ",".join(["more", *rows.column_names])
    body = [",".join(["1", *(str(cell) for cell in row.values())]) for row in rows.to_pylist()]
    (folder / "rows.csv").write_text("\n".join([header, *body]) + "\n")
    bundle = seal(folder / "bundle").folder
    for name in ("damaged", "tampered", "crowded"):
        shutil.copytree(bundle, folder / name)
    plan = folder / "damaged" / "plan.json"
    plan.write_bytes(plan.read_bytes()[:-40])
    manifest = json.loads((folder / "tampered" / "manifest.json").read_text())
    (folder / "tampered" / "plan.json").write_text((folder / "tampered" / "plan.json").read_text() + " ")
    (folder / "tampered" / "manifest.json").write_text(json.dumps(manifest))
    (folder / "crowded" / "model" / "extra.pkl").write_bytes(b"\x80\x04.")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("bad")
    fill(folder)
    temp = Path(tempfile.mkdtemp(prefix="l", dir="/tmp"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield Place(folder, temp, taken.getsockname()[1], frozenset(all_in(folder, temp)))
    shutil.rmtree(temp, ignore_errors=True)


@pytest.fixture
def place(filled: Place) -> Iterator[Place]:
    """The place for one case, which leaves nothing there but its own run's folder, and nothing half-written in that."""
    yield filled
    out = str(filled.out(""))
    found = set(all_in(filled.folder, filled.temp))
    written = {path for path in found if path == out or path.startswith(out + os.sep)}
    assert found - written == filled.first
    assert not [path for path in written if path.endswith((".tmp", ".new", "/.work"))]


def run_words(place: Place, name: str, words: str) -> list[str]:
    """``lepton run`` with what is needed for a quick end."""
    given = place.words(words)
    limited = any(word.startswith(("--deadline", "--budget")) for word in given)
    served = any(word.startswith("--serve") for word in given)
    return [
        *("run", *given, "--json"),
        *([] if limited else ["--deadline", "20s"]),
        *([] if served else ["--no-serve"]),
        *([] if "--out" in given else ["--out", str(place.out(name))]),
    ]


def check_sentence(what: str, hint: str) -> None:
    assert what and "\n" not in what and len(what) < 400 and what[-1] in ".?"
    assert hint and "\n" not in hint and len(hint) < 300


def check_refused(place: Place, name: str, done: Done) -> None:
    """A run that was refused: its code, its sentence, and what its folder holds, where it got as far as having one."""
    case, result = REFUSED[name], done.result
    assert (done.code, result["exit_code"]) == (case.code, case.code), done
    check_sentence(result["error"], result["hint"])
    assert case.what.replace("PORT", str(place.port)) in result["error"]
    assert case.hint in result["hint"]
    assert "Traceback" not in done.err and result.keys() == {"error", "hint", "exit_code"}
    out = place.out(name)
    assert out.exists() == case.made
    if case.made:
        left = {path.name for path in out.iterdir()}
        assert left <= {"spec.json", "plan.json", "profile.json", "ledger.jsonl", "result.json"} | {
            *("receipt.json", "receipt.txt", "driver.log", "bundles")
        }
        kept = json.loads((out / "result.json").read_text())
        assert (kept["error"], kept["exit_code"]) == (result["error"], case.code) and kept["spent_usd"] > 0
        assert json.loads((out / "receipt.json").read_text())["closed"]


def check_said(place: Place, name: str, done: Done) -> None:
    """A verb that was refused: its code and its sentence."""
    case = VERBS[name]
    assert done.code == case.code, done
    said = done.err.strip().splitlines()[-1]
    assert said.startswith("lepton: ") and "Traceback" not in done.err
    assert case.what.replace("PORT", str(place.port)) in said and case.hint in said


@pytest.mark.parametrize("name", one_in(3, REFUSED))
def test_what_cannot_be_used_is_refused_in_a_sentence(inside: Inside, place: Place, name: str) -> None:
    words = run_words(place, name, REFUSED[name].words)
    check_refused(place, name, inside(*words, cwd=place.folder, temp=place.temp))


@pytest.mark.parametrize("name", one_in(3, VERBS))
def test_every_verb_says_what_is_wrong(inside: Inside, place: Place, name: str) -> None:
    check_said(place, name, inside(*place.words(VERBS[name].words), cwd=place.folder, temp=place.temp))


@pytest.mark.process
@pytest.mark.parametrize("name", ["target constant", "unknown option", "too small a budget", "output is a file"])
def test_the_real_process_refuses_a_run_alike(place: Place, name: str) -> None:
    """Exit codes 2, 3, 4 and 8, as JSON."""
    shutil.rmtree(place.out(name), ignore_errors=True)
    words = run_words(place, name, REFUSED[name].words)
    check_refused(place, name, lepton(*words, cwd=place.folder, TMPDIR=str(place.temp)))


@pytest.mark.process
@pytest.mark.parametrize(
    "name", ["serve a damaged bundle", "unknown verb", "profile of no table", "serve on a taken port"]
)
def test_the_real_process_refuses_a_verb_alike(place: Place, name: str) -> None:
    """Exit codes 6, 2, 3 and 8, in one line of words."""
    done = lepton(*place.words(VERBS[name].words), cwd=place.folder, TMPDIR=str(place.temp))
    check_said(place, name, done)
    assert len(done.err.strip().splitlines()) == 1 and done.out == ""


def used(inside: Inside, place: Place, file: str) -> tuple[Done, Path]:
    """What became of a run on a table that is odd, but a table; and its folder."""
    words = run_words(place, file, f"{file} --target left --families constant")
    done = inside(*words, cwd=place.folder, temp=place.temp)
    assert done.code == 0 and "Traceback" not in done.err and done.result["score"] is not None, done
    return done, place.out(file)


@pytest.mark.process
def test_ragged_rows_are_counted_and_kept_aside_and_the_rest_is_used(inside: Inside, place: Place) -> None:
    done, out = used(inside, place, "ragged.csv")
    assert "2 ragged rows were kept aside in rejected.csv" in done.err
    kept = (out / "rejected.csv").read_text()
    assert '"1,2"' in kept and "5,a,0.5,yes,and,more" in kept


def test_columns_of_every_dirt_are_named(inside: Inside, place: Place) -> None:
    done = inside("profile", "dirty.csv", "--target", "left", "--json", cwd=place.folder)
    assert done.code == 0 and not done.err, done
    plan = json.loads(done.out)["plan"]
    kinds = {column["name"]: column.get("reason", column["kind"]) for column in plan["columns"]}
    assert kinds["blank"] == "blank" and kinds["unique"] == "id"
    assert (kinds["age"], kinds["far"], kinds["mixed"], kinds["day"]) == ("number", "number", "category", "date")
    told = " ".join(finding["sentence"] for finding in plan["findings"])
    for words in ("infinite", "mixed", "too long for a number", "do not exist"):
        assert words in told, words


@pytest.mark.process
def test_what_is_left_of_every_dirt_is_used(inside: Inside, place: Place) -> None:
    done, out = used(inside, place, "dirty.csv")
    assert Bundle.load(out / "bundle").id == done.result["bundle_id"]


@pytest.mark.process
def test_a_table_in_another_alphabet_is_learned_from(inside: Inside, place: Place) -> None:
    done, out = used(inside, place, "utf16.csv")
    assert "60 rows, 4 columns" in done.err, done
    profile = json.loads((out / "profile.json").read_text())
    assert [column["name"] for column in profile["columns"]] == HEAD


@pytest.mark.parametrize("name", READ)
def test_every_way_to_write_a_table_is_read_alike(inside: Inside, place: Place, name: str) -> None:
    done = inside("profile", name, "--json", cwd=place.folder)
    assert done.code == 0 and not done.err, done
    profile = json.loads(done.out)["profile"]
    assert profile["rows"] == 60 and [column["name"] for column in profile["columns"]] == HEAD
    assert [column["missing"] for column in profile["columns"]] == [0, 0, 0, 0]


def test_columns_to_spare_are_no_fault_when_predicting(inside: Inside, place: Place, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    done = inside("predict", "bundle", "rows.csv", "--out", out, "--keep", "more", cwd=place.folder)
    assert done.code == 0 and len(out.read_text().splitlines()) == 51


@pytest.mark.process
def test_a_failed_run_does_not_stand_in_the_way_of_the_next(inside: Inside, place: Place) -> None:
    """Not even where its folder is written into again."""
    refused = run_words(place, "again", "constant.csv --target left")
    assert inside(*refused, cwd=place.folder, temp=place.temp).code == 3
    assert "error" in json.loads((place.out("again") / "result.json").read_text())
    again = run_words(place, "again", f"{GOOD} --families constant")
    assert inside(*again, cwd=place.folder, temp=place.temp).code == 0
    assert json.loads((place.out("again") / "result.json").read_text())["score"] is not None


def mountable() -> bool:
    command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.process
@pytest.mark.parametrize("size", ["64k", "160k", "320k"])
def test_a_full_disk_is_named_and_what_was_sealed_is_kept(place: Place, tmp_path: Path, size: str) -> None:
    """The disk fills at the first write, while the table is set down, and in the middle of the search."""
    if not mountable():
        pytest.skip("a small disk cannot be mounted here: that needs root and a mount namespace")
    script = f'mount -t tmpfs -o size={size} tmpfs "$0" && "$@"; code=$?; ls -A "$0" "$0/run" >&2; exit $code'
    csv.write_csv(raw_table(1500), tmp_path / "t.csv")
    (tmp_path / "disk").mkdir()
    words = [tmp_path / "t.csv", "--target", "leaves", "--json", "--no-serve", "--deadline", "15s"]
    words += ["--out", tmp_path / "disk" / "run", "--families", "linear"]
    before = ["unshare", "-m", "sh", "-c", script, str(tmp_path / "disk")]
    done = lepton("run", *words, before=before, TMPDIR=str(place.temp))
    assert done.code == 8 and done.result["exit_code"] == 8, done
    assert "No space left on device" in done.result["error"] and "space" in done.result["hint"]
    assert "Traceback" not in done.err and ".tmp" not in done.err and ".work" not in done.err


def test_a_bundle_for_another_target_is_refused_before_anything_is_read(tmp_path: Path, inside: Inside) -> None:
    seal(tmp_path / "b")
    table = tmp_path / "t.csv"
    table.write_text(text())
    done = inside(
        "run", table, "--target", "left", "--warm-start", tmp_path / "b", "--no-serve", "--json", cwd=tmp_path
    )
    assert done.code == 6 and "predicts 'leaves', not 'left'" in done.result["error"], done
    assert not (tmp_path / "lepton-runs").exists()


HELP = {
    "run": "lepton run churn.csv --target Churn",
    "resume": "lepton resume 20261122-1842",
    "profile": "lepton profile churn.csv",
    "predict": "lepton predict lepton-runs/",
    "serve": "lepton serve lepton-runs/",
    "runs": "lepton runs",
    "trials": "lepton trials 2026",
    "receipt": "lepton receipt 2026",
    "report": "lepton report 2026",
    "refit": "lepton refit lepton-runs/",
    "export": "lepton export lepton-runs/",
    "doctor": "lepton doctor",
    "clean": "lepton clean --dry-run",
    "version": "lepton version",
}


def test_help_lists_every_verb(inside: Inside) -> None:
    done = inside("--help")
    assert done.code == 0 and all(f" {verb} " in done.out for verb in HELP), done


@pytest.mark.parametrize("verb", HELP)
def test_help_of_every_verb_holds_an_example(verb: str) -> None:
    done = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0 and "Example" in done.output and HELP[verb] in done.output
