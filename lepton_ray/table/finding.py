"""A finding: one thing about a table that its owner should hear, in one sentence. Knows not how it was found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was noticed (``kind`` is one word such as ``leak`` or ``duplicates``) and where (None: the whole table)."""

    kind: str
    column: str | None
    sentence: str

    def __str__(self) -> str:
        return self.sentence if self.column is None else f"{self.column}: {self.sentence}"
