"""How much of a long examination is sat: all of it, or under ``scripts/test --quick`` a part."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings

FEWEST = 10


def examples(count: int) -> settings:
    """So many for a property, where 100 is what others get; under the profile ``quick`` a tenth, at least ten."""
    return settings(max_examples=max(min(count, FEWEST), count * settings.default.max_examples // 100))


def one_in(every: int, cases: Iterable[Any]) -> list[Any]:
    """All cases of a parametrized test, a tuple for many arguments; the quick tests take the first of each so many."""
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*row, marks=pytest.mark.exam if at % every else ()) for at, row in enumerate(rows)]
