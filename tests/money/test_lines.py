"""Lines of JSON, appended by writers that may be killed at any byte."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.money.lines import append_line, line_of, parse_line, whole_lines

EVENTS = [{"a": 1}, {"ä": [1.5, None, "\u2028"]}, {"deep": {"er": True}}]


@given(st.data())
def test_whatever_byte_a_writer_died_at_the_next_one_goes_on(tmp_path_factory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("lines") / "log.jsonl"
    lines = [line_of(event) for event in EVENTS]
    cut = data.draw(st.integers(0, len(b"".join(lines))))
    path.write_bytes(b"".join(lines)[:cut])
    append_line(path, line_of({"after": cut}), synced=False)
    ends = [len(b"".join(lines[: n + 1])) for n in range(len(lines))]
    kept = [event for event, end in zip(EVENTS, ends, strict=True) if end - 1 <= cut]  # its newline is no part of it
    torn = cut not in (0, *ends, *(end - 1 for end in ends))
    assert whole_lines(path) == ([*kept, {"after": cut}], int(torn))


def test_a_file_is_made_only_where_that_is_asked_for(tmp_path: Path) -> None:
    assert whole_lines(tmp_path / "none") == ([], 0)
    with pytest.raises(FileNotFoundError):
        append_line(tmp_path / "none", line_of({}))
    append_line(tmp_path / "some", line_of({"a": 1}), create=True)
    assert whole_lines(tmp_path / "some") == ([{"a": 1}], 0)


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b"1", b"[" * 100_000, b"\xff"])
def test_what_is_no_object_is_no_line(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_line(line)


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError):
        line_of({"a": float("nan")})
