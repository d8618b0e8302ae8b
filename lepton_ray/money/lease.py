"""A lease: the time within which a trial must hand back its best so far. It knows no clock: now is an argument."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """``trial`` may run from ``started`` until ``until``, in seconds since the start of the run."""

    trial: str
    started: float
    until: float

    def __post_init__(self) -> None:
        if not self.started <= self.until:
            raise ValueError(f"a lease cannot end before it starts, got {self.started!r} and {self.until!r}")

    def left(self, now: float) -> float:
        """Seconds left at ``now``; zero once it has ended."""
        return max(0.0, self.until - now)

    def expired(self, now: float) -> bool:
        return now >= self.until
