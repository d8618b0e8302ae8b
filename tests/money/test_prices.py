"""Prices are dated facts; what is not known is an error that names the row."""

from pathlib import Path

import pytest

from lepton_ray.errors import MoneyError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.prices import MachinePrice, PriceSheet, machine_price

HEADER = "cloud,region,instance_type,vcpus,memory_gib,accelerator,accelerator_count,usd_per_hour,usd_per_hour_spot\n"


@pytest.fixture
def sheet() -> PriceSheet:
    return PriceSheet.shipped()


def test_the_shipped_sheet_is_whole_and_dated(sheet: PriceSheet) -> None:
    assert len(sheet.rows) == 37 and {row.cloud for row in sheet.rows} == {"aws", "gcp", "azure"}
    assert sheet.as_of == "2026-11-22" and "skypilot-catalog" in sheet.source
    assert all(row.on_demand or row.spot for row in sheet.rows)


def test_prices_are_looked_up(sheet: PriceSheet) -> None:
    assert sheet.hourly("m5.xlarge") == Dollars(192_000)
    assert sheet.hourly("M5.XLARGE", "US-EAST-1", "spot") == Dollars(63_800)
    assert sheet.hourly("p4d.24xlarge") == Dollars(21_957_642)


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (("a3-highgpu-8g",), "gcp us-central1 a3-highgpu-8g .on_demand.", "--price"),
        (("Standard_ND96isr_H100_v5", None, "spot"), "azure eastus Standard_ND96isr_H100_v5 .spot.", "--price"),
        (("m5.xlarg",), "'m5.xlarg' has no price", "m5.xlarge"),
        (("zzz",), "'zzz' has no price", "--price"),
        (("m5.xlarge", "mars"), "no price in mars", "us-east-1"),
        (("m5.xlarge", None, "black"), "no market 'black'", "on_demand and spot"),
    ],
)
def test_an_unknown_price_names_its_row(sheet: PriceSheet, arguments: tuple[str], what: str, hint: str) -> None:
    with pytest.raises(MoneyError, match=what) as caught:
        sheet.hourly(*arguments)
    assert hint in caught.value.hint


def test_a_sheet_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(HEADER + "lab,cellar,box,8,32,,,0.05,\nlab,attic,box,8,,,,0.04,\nlab,attic,shed,2,,,,,\n")
    sheet = PriceSheet.from_csv(path, as_of="2026-01-01")
    assert sheet.source == str(path) and sheet.hourly("box", "attic") == Dollars(40_000)
    with pytest.raises(MoneyError, match="several regions") as caught:
        sheet.hourly("box")
    assert "attic, cellar" in caught.value.hint
    machine = machine_price(6, None, "box", region="cellar", sheet=sheet)
    assert machine.sentence == "$0.05/h, the row box cellar on demand, as of 2026-01-01"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no column 'cloud'"),
        ("cloud,region\n", "no column 'instance_type'"),
        (HEADER + "lab,cellar,box,8,,,,minus one,\n", "line 2.*'minus one'"),
        (HEADER + "lab,cellar,box,8,,,,-1,\n", "line 2.*negative"),
        (HEADER + "lab,cellar,box,many,,,,1,\n", "line 2.*many"),
        (HEADER + "lab,cellar,box,8,,,,1,\nlab,cellar,BOX,8,,,,2,\n", "two rows for lab cellar BOX"),
        ("\xff\xfe", "cannot be read"),
    ],
)
def test_a_bad_sheet_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(MoneyError, match=what):
        PriceSheet.from_csv(path)


def test_a_missing_sheet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MoneyError, match="none.csv cannot be read"):
        PriceSheet.from_csv(tmp_path / "none.csv")


def test_a_short_row_and_a_long_row_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text(HEADER + "lab,cellar,box,8\nlab,cellar,shed,8,,,,1,,what,is,this\n")
    assert [row.on_demand for row in PriceSheet.from_csv(path).rows] == [None, Dollars(1_000_000)]


def test_a_machine_without_a_row_costs_its_share_of_the_reference() -> None:
    machine = machine_price(2)
    assert machine.per_hour == Dollars(96_000)
    assert (
        machine.sentence == "2 vCPU x $0.048/h, the reference row m5.xlarge us-east-1 on demand / 4, as of 2026-11-22"
    )


def test_a_machine_with_a_row_or_a_word_costs_that() -> None:
    row = machine_price(4, None, "g5.xlarge")
    assert row.per_hour == Dollars(1_006_000) and row.sentence.startswith("$1.006/h, the row g5.xlarge us-east-1")
    word = machine_price(4, Dollars(50_000), "g5.xlarge")
    assert word.per_hour == Dollars(50_000) and word.sentence == "$0.05/h by --price"


@pytest.mark.parametrize("price", [Dollars(0), Dollars(-1), Dollars(10**12 + 1)])
def test_an_absurd_price_is_refused(price: Dollars) -> None:
    with pytest.raises(MoneyError, match="not above zero and at most"):
        machine_price(2, price)


def test_a_machine_has_a_cpu_and_shares_are_of_it() -> None:
    with pytest.raises(ValueError, match="at least one vCPU"):
        MachinePrice(Dollars(1), 0, "", "")
    machine = MachinePrice(Dollars(3600_000), 4, "x", "")
    assert machine.share(1, 10) == Dollars(2_500)
    assert machine.share(9, 10) == machine.share(4, 10) == Dollars(10_000)
