"""The words in which every floor speaks of a table: kinds, columns, schema, problem. Knows no data and no files."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a column means. The clean Arrow type follows from it."""

    NUMBER = "number"  # float64
    CATEGORY = "category"  # string
    DATE = "date"  # timestamp("us"), naive
    TEXT = "text"  # string


class Task(StrEnum):
    """What is to be learned about the target."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


@dataclass(frozen=True, slots=True)
class Column:
    """One feature column."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Schema:
    """The feature columns of a clean block, in order."""

    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, in order."""
        return tuple(column.name for column in self.columns)

    def of(self, kind: Kind) -> tuple[str, ...]:
        """The names of the columns of one kind, in order."""
        return tuple(column.name for column in self.columns if column.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """The schema as JSON values."""
        return {"columns": [{"name": column.name, "kind": column.kind.value} for column in self.columns]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Schema":
        """The inverse of ``to_dict``."""
        return cls(tuple(Column(column["name"], Kind(column["kind"])) for column in values["columns"]))


@dataclass(frozen=True, slots=True)
class Problem:
    """What is learned: classes are sorted, except that a binary problem holds (negative, positive)."""

    target: str
    task: Task
    classes: tuple[str, ...]
    metric: str
    positive: str | None = None

    @property
    def n_outputs(self) -> int:
        """How many numbers a model says per row: one per class, or the one value of a regression."""
        return len(self.classes) if self.classes else 1

    def to_dict(self) -> dict[str, Any]:
        """The problem as JSON values."""
        return {
            "target": self.target,
            "task": self.task.value,
            "classes": list(self.classes),
            "metric": self.metric,
            "positive": self.positive,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Problem":
        """The inverse of ``to_dict``."""
        classes = tuple(str(name) for name in values["classes"])
        return cls(values["target"], Task(values["task"]), classes, values["metric"], values.get("positive"))
