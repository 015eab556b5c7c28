"""How an import reads CSV: every record with its lines, wherever it begins."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.importing.csv_file import read_records
from headrace.cli.importing.lines import LINE_BYTES_MAX, Line
from headrace.cli.shared.failure import CommandFailed, ExitCode

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)


def read(text: str | bytes, number: int = 0, offset: int = 0) -> list[Line]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_records(io.BytesIO(data), number=number, offset=offset))


def members(line: Line) -> Any:
    assert not line.problem
    return json.loads(line.text)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=8), st.data())
def test_records_round_trip_and_resume(rows: list[tuple[str, str]], data: st.DataObject) -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("external_id", "note"))
    writer.writerows(rows)
    lines = read(out.getvalue())
    wanted = []
    for external_id, note in rows:
        contact: dict[str, Any] = {"external_id": external_id} if external_id else {}
        if note:
            contact["properties"] = {"note": note}
        if contact:
            wanted.append(contact)
    assert [members(line) for line in lines] == wanted
    if lines:
        last = data.draw(st.sampled_from(lines))
        after = read(out.getvalue(), last.last_number, last.end)
        assert after == lines[lines.index(last) + 1 :]


@pytest.mark.parametrize(
    ("cell", "kind", "value"),
    [
        ("1", "number", 1),
        (" -0.5e3 ", "number", -500.0),
        ("TRUE", "boolean", True),
        ("no", "boolean", False),
        ("2026-06-08", "date", "2026-06-08"),
        ("a; b;;", "list", ["a", "b"]),
        (" a ", "string", " a "),
        ("1", "string", "1"),
    ],
)
def test_a_cell_has_the_type_of_its_column(cell: str, kind: str, value: Any) -> None:
    (line,) = read(f'email,p:{kind}\na@x.org,"{cell}"\n')
    assert members(line)["properties"] == {"p": value}


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("01", "number"),
        ("NaN", "number"),
        ("1,5", "number"),
        ("maybe", "boolean"),
        ("2026-13-01", "date"),
        ("today", "date"),
    ],
)
def test_a_cell_of_another_type_is_rejected_with_its_column(cell: str, kind: str) -> None:
    (line,) = read(f'email,p:{kind}\na@x.org,"{cell}"\n')
    assert line.problem.startswith("p: must be")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_first_line_determines_the_delimiter(delimiter: str) -> None:
    text = f"email{delimiter}plan\na@x.org{delimiter}pro\n"
    (line,) = read(b"\xef\xbb\xbf" + text.encode())
    assert members(line) == {"email": "a@x.org", "properties": {"plan": "pro"}}


def test_an_invalid_record_affects_no_other() -> None:
    rows = [
        b"email,note",
        b"a@x.org,\xff",
        b'b@x.org,"x"y',
        b"c@x.org," + b"x" * (2 * LINE_BYTES_MAX),
        b"d@x.org,z" + b"x" * 200_000,
        b"e@x.org,fine",
    ]
    lines = read(b"\n".join(rows))
    assert [(line.number, bool(line.problem)) for line in lines] == [
        (2, True),
        (3, True),
        (4, True),
        (5, True),
        (6, False),
    ]
    assert lines[-1].end == len(b"\n".join(rows))


@pytest.mark.parametrize("name", ["n:integer", "n:Number", "n: number", "utm:source"])
def test_an_unknown_type_is_rejected_with_the_known_ones(name: str) -> None:
    with pytest.raises(CommandFailed, match="known: string, number, boolean, date, list"):
        read(f"email,{name}\na@x.org,1\n")


@pytest.mark.parametrize("name", ["note: x", "Phone:", "a:b c", "see http://x"])
def test_suffix_that_is_no_word_belongs_to_the_name(name: str) -> None:
    (line,) = read(f"email,{name}\na@x.org,1\n")
    assert members(line)["properties"] == {name: "1"}


def test_a_name_may_hold_a_colon() -> None:
    (line,) = read("email,utm:source:string\na@x.org,ads\n")
    assert members(line)["properties"] == {"utm:source": "ads"}


def test_blanks_belong_to_names_and_texts() -> None:
    (line,) = read("external_id, plan \n 42 , pro\n")
    assert members(line) == {"external_id": " 42 ", "properties": {" plan ": " pro"}}


@pytest.mark.parametrize("name", [" email", "email ", "email:string", " external_id:list"])
def test_an_implausible_identifier_is_rejected(name: str) -> None:
    with pytest.raises(CommandFailed, match="without spaces or type"):
        read(f"external_id,{name}\n1,2\n" if "external" not in name else f"email,{name}\n1,2\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "email, ,plan\n",
        "email,:number\n",
        "a,b\n",
        "email,email\n",
        "email,,plan\n",
        "\xff\n",
    ],
)
def test_a_first_line_that_names_no_columns_is_rejected(text: str) -> None:
    with pytest.raises(CommandFailed):
        read(text.encode("latin-1"))


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_lines_may_end_in_any_way(end: str) -> None:
    lines = read(end.join(["email,note", 'a@x.org,"two\r\nlines"', "b@x.org,z", ""]))
    assert [members(line)["email"] for line in lines] == ["a@x.org", "b@x.org"]
    assert members(lines[0])["properties"] == {"note": "two\r\nlines"}


def test_a_quote_that_is_not_closed_costs_its_line() -> None:
    rows = ["email,note", 'a@x.org,"open', "b@x.org,fine", 'c@x.org,"quoted"', 'd@x.org,"end']
    lines = read("\n".join(rows))
    assert [(line.number, line.problem) for line in lines] == [
        (2, "has a quote that is not closed"),
        (3, ""),
        (4, ""),
        (5, "unexpected end of data"),
    ]
    assert [line.lines for line in lines] == [1, 1, 1, 1]


def test_a_quote_that_is_not_closed_costs_its_line_in_a_large_file() -> None:
    rows = ["email,note", 'a@x.org,"open', *(f"u{n}@x.org,fine" for n in range(50_000))]
    lines = read("\n".join(rows))
    assert [line.number for line in lines if line.problem] == [2]
    assert len(lines) == 50_001


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_line_that_names_the_delimiter_is_read(first: str) -> None:
    (line,) = read(f"{first}\r\nemail;note, or so\r\na@x.org;x\r\n")
    assert members(line) == {"email": "a@x.org", "properties": {"note, or so": "x"}}
    assert line.number == 3


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("Email", "email"),
        ("E-Mail", "email"),
        ("EMAIL", "email"),
        ("Email Address", "email"),
        ("External ID", "external_id"),
        ("externalId", "external_id"),
    ],
)
def test_names_of_other_products_are_identifiers(header: str, field: str) -> None:
    (line,) = read(f"{header},plan\na@x.org,pro\n")
    assert members(line) == {field: "a@x.org", "properties": {"plan": "pro"}}


def test_delimiters_at_the_end_of_lines_are_left_out() -> None:
    (line,) = read("email,plan\na@x.org,pro,\n")
    assert members(line) == {"email": "a@x.org", "properties": {"plan": "pro"}}
    lines = read("email,plan,,\na@x.org,pro,,\nb@x.org\nc@x.org,pro,,x\n")
    assert members(lines[0]) == {"email": "a@x.org", "properties": {"plan": "pro"}}
    assert members(lines[1]) == {"email": "b@x.org"}
    assert "4 cells" in lines[2].problem


def test_a_header_cell_may_have_a_line_break() -> None:
    (line,) = read('email,"first\nsecond"\na@x.org,x\n')
    assert members(line)["properties"] == {"first second": "x"}
    assert line.number == 3


def test_columns_are_renamed_or_left_out() -> None:
    data = io.BytesIO(b"Mail=x,Seats,Notes\na@x.org,3,secret\n")
    renamed = {"Mail=x": "email", "Seats": "seats:number", "Notes": ""}
    (line,) = read_records(data, number=0, offset=0, renamed=renamed)
    assert members(line) == {"email": "a@x.org", "properties": {"seats": 3}}


def test_a_renamed_column_must_be_there() -> None:
    words = r'has no column "Mail"; it has "email", "Full name"\.$'
    few = io.BytesIO(b"email,Full name\n")
    with pytest.raises(CommandFailed, match=words) as failed:
        list(read_records(few, number=0, offset=0, renamed={"Mail": "email"}))
    assert failed.value.code == ExitCode.USAGE
    wide = io.BytesIO(",".join(f"c{number}" for number in range(30)).encode() + b"\n")
    with pytest.raises(CommandFailed, match=r'"c19" and 10 more\.$'):
        list(read_records(wide, number=0, offset=0, renamed={"Mail": "email"}))
