"""How many examples a property is tried on: all of them, or a quarter under the profile ``quick``."""

from hypothesis import settings

FEWEST = 10


def examples(count: int) -> settings:
    """So many, where 100 is what other properties get; at least ten."""
    return settings(max_examples=max(min(count, FEWEST), count * settings.default.max_examples // 100))
