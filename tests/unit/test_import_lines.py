"""How an import reads lines and gives them idempotency keys."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.importing.job import batches
from headrace.cli.importing.kinds import EVENTS
from headrace.cli.importing.lines import LINE_BYTES_MAX, Line, fingerprint, read_lines, with_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(data: bytes, number: int = 0, offset: int = 0) -> list[Line]:
    return list(read_lines(io.BytesIO(data[offset:]), number=number, offset=offset))


@given(st.lists(st.binary(max_size=20).map(lambda text: text.replace(b"\n", b" "))))
def test_every_line_that_is_not_blank_is_read_with_its_number(texts: list[bytes]) -> None:
    lines = read(b"\n".join(texts))
    wanted = {n: t.strip(b" \t\r") for n, t in enumerate(texts, 1) if t.strip(b" \t\r")}
    assert {line.number: line.text for line in lines} == wanted


@given(st.lists(st.sampled_from([b"{}", b"", b"  ", b"[1]", b"x\r"])), st.data())
def test_reading_resumes_after_any_line(texts: list[bytes], data: st.DataObject) -> None:
    content = b"\n".join(texts)
    lines = read(content)
    if lines:
        last = data.draw(st.sampled_from(lines))
        assert read(content, last.number, last.end) == [x for x in lines if x.number > last.number]


def test_a_byte_order_mark_is_not_part_of_the_first_line() -> None:
    mark = b"\xef\xbb\xbf"
    lines = read(mark + b"{}\n" + mark + b"{}\n")
    assert [(line.number, line.text, line.end) for line in lines] == [
        (1, b"{}", 6),
        (2, mark + b"{}", 12),
    ]


def test_line_past_the_limit_is_cut_and_reported() -> None:
    lines = read(b"x" * (3 * LINE_BYTES_MAX) + b"\n{}\n")
    assert [(line.number, line.too_long, len(line.text)) for line in lines] == [
        (1, True, LINE_BYTES_MAX),
        (2, False, 2),
    ]
    assert lines[-1].end == 3 * LINE_BYTES_MAX + 4


@given(st.dictionaries(st.text(), JSON, max_size=5).filter(lambda x: "idempotency_key" not in x))
def test_a_key_is_added_and_nothing_else_changed(members: dict[str, Any]) -> None:
    text = json.dumps(members).encode()
    named = with_key(text, "import:0:1")
    assert json.loads(named) == members | {"idempotency_key": "import:0:1"}
    assert named.endswith(text[1:])


@pytest.mark.parametrize("text", [b'{"idempotency_key": "mine"}', b"[]", b"{", b"1", b"\xff"])
def test_lines_with_a_key_or_without_an_object_are_unchanged(text: bytes) -> None:
    assert with_key(text, "import:0:1") == text


def test_a_key_that_is_null_is_replaced() -> None:
    text = b'{"payload": {"n": 1.50}, "idempotency_key": null}'
    assert with_key(text, "k") == b'{"payload":{"n": 1.50},"idempotency_key":"k"}'


def test_batches_are_bounded_by_number_and_size() -> None:
    small = [Line(n, b"{}", n) for n in range(EVENTS.batch_lines + 1)]
    assert [len(batch) for batch in batches(small)] == [EVENTS.batch_lines, 1]
    large = [Line(n, b"x" * (EVENTS.batch_bytes // 2 - 1), n) for n in range(5)]
    assert [len(batch) for batch in batches(large)] == [2, 2, 1]
    assert list(batches([])) == []


def test_fingerprint_distinguishes_files(tmp_path: Path) -> None:
    files = {"a": b"{}\n", "b": b"[]\n", "longer": b"{}\n{}\n", "same as a": b"{}\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    found = {name: fingerprint(tmp_path / name) for name in files}
    assert found["a"] == found["same as a"]
    assert len(set(found.values())) == 3
