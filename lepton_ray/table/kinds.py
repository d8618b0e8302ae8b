"""What a column means and whether it is of use, judged from its profile alone. Knows no target and no rows."""

import re
from collections.abc import Iterator
from dataclasses import replace

from lepton_ray.errors import UsageError
from lepton_ray.table import dates
from lepton_ray.table.column_plan import ColumnPlan, Reason
from lepton_ray.table.finding import Finding
from lepton_ray.table.profile import ColumnProfile
from lepton_ray.table.schema import Kind

TOLERATED_WORDS = 0.02
"""Up to this share of words among numbers (or dates) becomes missing; with more the column is a category."""

MIN_ID_ROWS = 20
UNKNOWN_WORDS = ("unknown", "missing", "not available", "not known", "undefined", "tbd", "no data", "error")
_ID_NAME = re.compile(
    r"(^|[\s_.-])(id|uuid|guid|key|rownames?|row|index|idx|instant|record|serial)$|[a-z](ID|Id)$|^(id|row)[\s_.-]|^unnamed"
)
_DATE_NAME = re.compile(r"date|day|time|datum|(^|_)dt($|_)", re.IGNORECASE)


def judge(column: ColumnProfile, kind: Kind | None = None, *, repeated: int = 0) -> ColumnPlan:
    """The plan for one column of a table of which ``repeated`` rows repeat others.

    A kind that the user gave is taken, and the column used whatever is in it.
    """
    unique = _is_unique(column, repeated)
    plan = ColumnPlan(column.name, kind or _kind(column, unique), by_user=kind is not None)
    if plan.kind is Kind.NUMBER:
        plan = replace(plan, decimal=column.decimal, sentinels=_sentinels(column))
    if plan.kind is Kind.DATE:
        forms = ("compact",) if column.physical == "integer" else _date_forms(column, compact=True)
        plan = replace(plan, dates=forms)
    if kind is not None:
        _check_typed(column, plan)
        return plan
    return replace(plan, reason=_reason(column, plan.kind, unique))


def _kind(column: ColumnProfile, unique: bool) -> Kind:
    """Number, category, date or text."""
    if column.physical in ("integer", "number"):
        return Kind.NUMBER
    if column.physical == "date":
        return Kind.DATE
    if column.physical in ("boolean", "nested") or not column.present:
        return Kind.CATEGORY
    counts = column.values.counts()
    present = column.present - sum(count for text, count in counts.items() if text.lower() in UNKNOWN_WORDS)
    tolerated = TOLERATED_WORDS * present
    forms = _date_forms(column, compact=_DATE_NAME.search(column.name) is not None)
    if forms and sum(column.dates[form] for form in forms) + column.impossible_dates >= present - tolerated:
        return Kind.DATE
    numbers = column.numbers
    codes = numbers.zero_led > 0.01 * present or numbers.long > 0.5 * present or _has_codes(counts)
    if 0 < present <= column.number_count + tolerated and not codes:
        return Kind.NUMBER
    return Kind.TEXT if _is_prose(column, unique) else Kind.CATEGORY


def _has_codes(counts: dict[str, int]) -> bool:
    """Whether the words among the numbers mostly hold digits too, as V57 among 250.83: then all are codes."""
    words = {text: count for text, count in counts.items() if re.search("[A-Za-z]", text) and text[:1].isalpha()}
    coded = sum(count for text, count in words.items() if re.search("[0-9]", text))
    return coded > 0.5 * sum(words.values()) > 0 and len(words) > 1


def _is_prose(column: ColumnProfile, unique: bool) -> bool:
    """Long or many words, mostly different; where a letter takes three bytes (Chinese), two of them are a word."""
    present = column.present
    if column.values.distinct < 0.2 * present or column.values.distinct < MIN_ID_ROWS:
        return False
    words, length = 1 + column.spaces / present, column.characters / present
    if column.bytes >= 2.5 * column.characters:
        words, length = max(words, length / 2), length * 2
    return words >= 3 or (length >= 40 and not unique) or length >= 70


def _is_unique(column: ColumnProfile, repeated: int) -> bool:
    """Whether no value occurs twice, but for rows that repeat others; of many values, a sample is looked at."""
    tally = column.values
    if tally.exact:
        return tally.distinct >= column.present - repeated
    return tally.mean_count <= 1.002 * column.rows / max(column.rows - repeated, 1)


def _date_forms(column: ColumnProfile, compact: bool) -> tuple[str, ...]:
    """The forms of date in a column, most frequent first; day-first and month-first exclude each other."""
    counts = dict(column.dates)
    if "dmy" in counts and "mdy" in counts:
        del counts["mdy" if counts["dmy"] >= counts["mdy"] else "dmy"]
    if not compact:
        counts.pop("compact", None)
    return tuple(sorted(counts, key=lambda form: (-counts[form], form)))


def _sentinels(column: ColumnProfile) -> tuple[float, ...]:
    """Numbers that stand for missing: -1, -99, -999 … below all others, or 999 … far above them; more than once."""
    numbers, found = column.numbers, []
    if len(numbers.lowest) < 2 or len(numbers.highest) < 2 or column.values.distinct < 10:
        return ()
    (least, often), (second, _) = numbers.lowest[:2]
    if often > 1 and second >= 0 and (_is_nines(-least) or (least == -1 and often > 0.01 * numbers.count)):
        found.append(least)
    (most, often), (second, _) = numbers.highest[:2]
    if often > 1 and _is_nines(most) and 0 < 4 * second < most:
        found.append(most)
    return tuple(found)


def _is_nines(number: float) -> bool:
    return number in (9.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0, 9999999.0)


def _reason(column: ColumnProfile, kind: Kind, unique: bool) -> Reason | None:
    """Why a column is of no use, if so."""
    if column.physical == "nested":
        return Reason.NESTED
    if not column.present:
        return Reason.BLANK
    if column.values.exact and column.values.distinct == 1 and column.present == column.rows:
        return Reason.CONSTANT
    if column.present < max(MIN_ID_ROWS, 0.9 * column.rows) or not unique:
        return None
    if kind is Kind.CATEGORY:
        return Reason.ID
    numbers = column.numbers
    if kind is Kind.NUMBER and numbers.integers == column.rows and numbers.lowest:
        dense = numbers.highest[0][0] - numbers.lowest[0][0] < 2 * column.rows
        return Reason.ID if dense or _ID_NAME.search(column.name) else None
    return None


def _check_typed(column: ColumnProfile, plan: ColumnPlan) -> None:
    """Refuse a number or a date of which no cell can be read."""
    if column.physical in ("boolean", "integer", "date") or not column.present:
        return
    what = None
    if plan.kind is Kind.NUMBER and not column.number_count:
        what = "number"
    if plan.kind is Kind.DATE and not plan.dates:
        what = "date"
    if what:
        example = next(iter(column.values.counts()))
        raise UsageError(
            f"Column {column.name!r} was said to be a {what}, but no cell is one (one is {example!r:.60}).",
            "Give it another kind with --types, or drop it.",
        )


def findings(column: ColumnProfile, plan: ColumnPlan) -> Iterator[Finding]:
    """What the owner of the table should know about a column that is used."""
    for kind, sentence in _sentences(column, plan):
        yield Finding(kind, column.name, sentence)


def _sentences(column: ColumnProfile, plan: ColumnPlan) -> Iterator[tuple[str, str]]:
    numbers, absent = column.numbers, column.rows - column.present
    if absent and column.present:
        how = ["blank"] * bool(column.missing) + [repr(word) for word in sorted(column.words)[:4]]
        yield (
            "missing",
            f"{absent:,} of {column.rows:,} cells {'is' if absent == 1 else 'are'} missing ({', '.join(how)}).",
        )
    if plan.kind is Kind.NUMBER and column.physical == "text":
        words = column.present - column.number_count
        if words > 0:
            yield "mixed", f"{words:,} of {column.rows:,} cells are words among numbers and become missing."
        if plan.decimal == ",":
            yield "format", "Numbers are written with a decimal comma."
        if numbers.decorated > numbers.comma:
            yield "format", "Currency and percent signs and separators of thousands are taken off."
    if plan.kind is Kind.NUMBER and numbers.infinite:
        yield "infinite", f"{numbers.infinite:,} infinite numbers become missing."
    for sentinel in plan.sentinels:
        often = dict((*numbers.lowest, *numbers.highest))[sentinel]
        yield "sentinel", f"{sentinel:g} ({often:,} cells) stands for missing."
    if numbers.long:
        yield "long", f"{numbers.long:,} integers have 19 digits or more, too long for a number: likely codes."
    if plan.kind is Kind.DATE:
        yield from _date_sentences(column, plan)
    elif column.impossible_dates:
        yield "impossible-date", f"{column.impossible_dates:,} cells look like dates that do not exist."
    if plan.kind is Kind.CATEGORY and 0 < 20 * numbers.count and numbers.count < column.present:
        yield "mixed", f"Numbers ({numbers.count:,}) and words are mixed: taken as a category."


def _date_sentences(column: ColumnProfile, plan: ColumnPlan) -> Iterator[tuple[str, str]]:
    if column.impossible_dates:
        yield "impossible-date", f"{column.impossible_dates:,} dates do not exist and become missing."
    if len(plan.dates) > 1:
        forms = ", ".join(f"{dates.IN_WORDS[form]} ({column.dates[form]:,})" for form in plan.dates)
        yield "format", f"Dates are written in {len(plan.dates)} ways: {forms}."
    if "dmy" in plan.dates and column.dates.get("mdy") == column.dates["dmy"]:
        yield "ambiguous-date", "Every date reads day-first and month-first; day/month/year is taken."
