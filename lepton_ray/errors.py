"""Every error that lepton_ray raises on purpose. It knows nothing about who raises them.

LeptonError                     1   (never raised itself)
├── UsageError                  2   a flag, a spec or an argument is wrong, or asks of the target what it is not
├── DataError                   3   the table (or a plan for it) is wrong, is not one, or lacks a column
├── MoneyError                  4   the budget or the deadline is wrong, too small or used up
├── SearchError                 5   no model could be found
├── BundleError                 6   a bundle is damaged, foreign or does not fit the table
├── ServingError                7   the endpoint cannot be brought up or answer
├── EnvironmentFault            8   disk, port, memory or a missing package
└── Interrupted               130   the user asked to stop

The number is the exit code of the command line. ``what`` is one sentence that says what is wrong and where;
``hint`` is one sentence that says how to mend it. Both survive pickling, also across processes.
"""


class LeptonError(Exception):
    """A fault that the user can understand: what is wrong, and how to mend it."""

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what} {self.hint}".strip()

    def __reduce__(self) -> tuple[type["LeptonError"], tuple[str, str]]:
        return type(self), (self.what, self.hint)


class UsageError(LeptonError):
    """A flag, a spec file or an argument is wrong in itself, or what it asks for does not fit the target."""

    exit_code = 2


class DataError(LeptonError):
    """The table cannot be read, is not a table, or cannot be learned from."""

    exit_code = 3


class MoneyError(LeptonError):
    """The budget or the deadline is wrong, too small, or used up without a model."""

    exit_code = 4


class SearchError(LeptonError):
    """No model could be found."""

    exit_code = 5


class BundleError(LeptonError):
    """A bundle is damaged, foreign, or does not fit the table."""

    exit_code = 6


class ServingError(LeptonError):
    """The endpoint cannot be brought up or does not answer."""

    exit_code = 7


class EnvironmentFault(LeptonError):
    """The machine refuses: disk, port, memory, a missing package."""

    exit_code = 8


class Interrupted(LeptonError):
    """The user asked to stop."""

    exit_code = 130
