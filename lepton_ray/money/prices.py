"""Prices of machines: dated rows of a CSV file, and what one machine costs an hour. It knows no cluster and no clock.

A price that is not known is an error that names the row: money is never guessed.
"""

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

from lepton_ray.errors import MoneyError
from lepton_ray.money.dollars import Dollars

Market = Literal["on_demand", "spot"]

SHIPPED_AS_OF = "2026-11-22"  # the day the catalog was read; the catalog's own dates are not known
SHIPPED_SOURCE = "public catalog skypilot-org/skypilot-catalog"
REFERENCE_INSTANCE = "m5.xlarge"  # a machine without a row of its own costs this row's price per vCPU
DEAREST_HOUR = Dollars(10**12)

_COLUMNS = ("cloud", "region", "instance_type", "vcpus", "usd_per_hour")


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One machine type in one region; a price is None where the source has none."""

    cloud: str
    region: str
    instance_type: str
    vcpus: int
    memory_gib: float | None
    accelerator: str
    accelerator_count: int
    on_demand: Dollars | None
    spot: Dollars | None

    @property
    def name(self) -> str:
        return f"{self.cloud} {self.region} {self.instance_type}"

    def hourly(self, market: Market = "on_demand") -> Dollars:
        """The price of an hour; a blank price is a MoneyError that names this row."""
        if market not in ("on_demand", "spot"):
            raise MoneyError(f"There is no market {market!r}.", "The markets are on_demand and spot.")
        price = self.on_demand if market == "on_demand" else self.spot
        if price is None:
            raise MoneyError(
                f"The price of {self.name} ({market}) is not known.", "Give the price per hour with --price."
            )
        return price


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """Rows of prices with the source they were read from and the date."""

    rows: tuple[PriceRow, ...]
    source: str
    as_of: str

    @classmethod
    def shipped(cls) -> Self:
        """The sheet inside the package."""
        path = os.path.join(os.path.dirname(__file__), "prices.csv")
        return cls.from_csv(path, source=SHIPPED_SOURCE, as_of=SHIPPED_AS_OF)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], *, source: str = "", as_of: str = "") -> Self:
        """Read a sheet with the columns of the shipped one; ``source`` is the path where none is given."""
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
                if missing:
                    raise MoneyError(
                        f"The price file {path} has no column {missing[0]!r}.", f"It needs {', '.join(_COLUMNS)}."
                    )
                rows = tuple(_row(cells, f"{path}, line {reader.line_num}") for cells in reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise MoneyError(f"The price file {path} cannot be read ({error}).", "Give a CSV file in UTF-8.") from None
        _refuse_twins(rows, path)
        return cls(rows, source or str(path), as_of)

    def row(self, instance_type: str, region: str | None = None) -> PriceRow:
        """The one row of this type; several regions without a given one, or no row at all, is a MoneyError."""
        same_type = [row for row in self.rows if row.instance_type.casefold() == instance_type.casefold()]
        found = [row for row in same_type if region is None or row.region.casefold() == region.casefold()]
        if len(found) == 1:
            return found[0]
        if found:
            regions = ", ".join(sorted(row.region for row in found))
            raise MoneyError(f"{instance_type} has prices in several regions.", f"Name one of {regions}.")
        if same_type:
            regions = ", ".join(sorted(row.region for row in same_type))
            raise MoneyError(f"{instance_type} has no price in {region}.", f"There is one in {regions}.")
        raise MoneyError(f"{instance_type!r} has no price.", self._nearest(instance_type))

    def hourly(self, instance_type: str, region: str | None = None, market: Market = "on_demand") -> Dollars:
        """The price of an hour of one machine."""
        return self.row(instance_type, region).hourly(market)

    def _nearest(self, instance_type: str) -> str:
        from difflib import get_close_matches  # only an error needs it

        near = get_close_matches(instance_type, sorted({row.instance_type for row in self.rows}), n=3)
        return f"Did you mean {' or '.join(near)}?" if near else "Give its price per hour with --price."


@dataclass(frozen=True, slots=True)
class MachinePrice:
    """What the machine under a run costs an hour, and why we say so."""

    per_hour: Dollars
    vcpus: int
    source: str
    as_of: str

    def __post_init__(self) -> None:
        if not Dollars(0) < self.per_hour <= DEAREST_HOUR:
            raise MoneyError(
                f"The price {self.per_hour} per hour is not above zero and at most {DEAREST_HOUR}.",
                "Give what the machine costs in dollars per hour, or leave --price out for the reference price.",
            )
        if self.vcpus < 1:
            raise ValueError(f"a machine has at least one vCPU, got {self.vcpus}")

    @property
    def sentence(self) -> str:
        return f"{self.source}, as of {self.as_of}" if self.as_of else self.source

    def to_dict(self) -> dict[str, Any]:
        """The price as JSON values; ``from_dict`` reads them back."""
        facts = {"vcpus": self.vcpus, "source": self.source, "as_of": self.as_of}
        return {"per_hour_micros": self.per_hour.micros, **facts}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        return cls(Dollars(facts["per_hour_micros"]), int(facts["vcpus"]), str(facts["source"]), str(facts["as_of"]))

    def share(self, cpus: float, seconds: float) -> Dollars:
        """What ``cpus`` of this machine cost for ``seconds``; never more than the whole machine."""
        return Dollars.of_rate(self.per_hour, seconds * min(1.0, cpus / self.vcpus))


def machine_price(
    vcpus: int,
    override: Dollars | None = None,
    instance_type: str | None = None,
    *,
    region: str | None = None,
    sheet: PriceSheet | None = None,
) -> MachinePrice:
    """Price a machine: by the user's word, else by its row, else by its share of the reference row."""
    if override is not None:
        return MachinePrice(override, vcpus, f"{override}/h by --price", "")
    sheet = sheet or PriceSheet.shipped()
    if instance_type is not None:
        row = sheet.row(instance_type, region)
        per_hour = row.hourly()
        return MachinePrice(per_hour, vcpus, f"{per_hour}/h, the row {_cited(row)}", sheet.as_of)
    row = sheet.row(REFERENCE_INSTANCE, region)
    per_hour = Dollars.of_rate(row.hourly(), 3600 * vcpus / row.vcpus)
    one = Dollars.of_rate(row.hourly(), 3600 / row.vcpus)
    return MachinePrice(
        per_hour, vcpus, f"{vcpus} vCPU x {one}/h, the reference row {_cited(row)} / {row.vcpus}", sheet.as_of
    )


def _cited(row: PriceRow) -> str:
    return f"{row.instance_type} {row.region} on demand"


def _row(cells: dict[str, str | None], where: str) -> PriceRow:
    text = {key: (value or "").strip() for key, value in cells.items() if isinstance(value, str | None)}
    try:
        return PriceRow(
            cloud=text["cloud"],
            region=text["region"],
            instance_type=text["instance_type"],
            vcpus=int(text["vcpus"]),
            memory_gib=float(text["memory_gib"]) if text.get("memory_gib") else None,
            accelerator=text.get("accelerator", ""),
            accelerator_count=int(text.get("accelerator_count") or 0),
            on_demand=_price(text["usd_per_hour"]),
            spot=_price(text.get("usd_per_hour_spot", "")),
        )
    except (ValueError, MoneyError) as error:
        raise MoneyError(
            f"The price row at {where} cannot be read: {error}", "Leave a price blank where it is not known."
        ) from None


def _price(text: str) -> Dollars | None:
    return Dollars.parse(text, name="price") if text else None


def _refuse_twins(rows: Iterable[PriceRow], path: str | os.PathLike[str]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.name.casefold() in seen:
            raise MoneyError(f"The price file {path} has two rows for {row.name}.", "Keep the one that is right.")
        seen.add(row.name.casefold())
