"""Append-only files of JSON lines that survive the death of their writer at any byte. It knows not what they mean.

A line is appended with one write and waited for until the disk has it. One that a killed writer has torn is fenced off
with a newline by the next writer and skipped by readers, so a file is only ever as good as its whole lines.
"""

import json
import os
from typing import Any

Event = dict[str, Any]


def line_of(event: Event) -> bytes:
    """One event as one line. Raises ValueError where a number is not finite."""
    return json.dumps(event, allow_nan=False).encode() + b"\n"


def parse_line(line: bytes) -> Event:
    """Read one line back. Raises ValueError where it is not an object in JSON."""
    try:
        event = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(event, dict):
        raise ValueError("not an event")
    return event


def append_line(path: str | os.PathLike[str], line: bytes, *, create: bool = False, synced: bool = True) -> None:
    """Append one line with one write, on a line of its own even after a torn one.

    Args:
        create: make the file where there is none.
        synced: wait until the disk has it; without, a line survives the process but not the machine.

    Raises:
        OSError: the disk refused, or took only a part.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0), 0o644)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        write_at_once(descriptor, b"\n" + line if torn else line, synced=synced)
    finally:
        os.close(descriptor)


def write_at_once(descriptor: int, data: bytes, *, synced: bool = True) -> None:
    """Write all of ``data`` at once. Raises OSError where only a part was taken."""
    if os.write(descriptor, data) != len(data):
        raise OSError("the disk took only a part of the line")
    if synced:
        os.fsync(descriptor)


def whole_lines(path: str | os.PathLike[str]) -> tuple[list[Event], int]:
    """The events of a file in order, and how many lines were torn; nothing where there is no file."""
    try:
        with open(path, "rb") as file:
            found = [line for line in file.read().split(b"\n") if line]
    except FileNotFoundError:
        return [], 0
    events = []
    for line in found:
        try:
            events.append(parse_line(line))
        except ValueError:
            continue
    return events, len(found) - len(events)
