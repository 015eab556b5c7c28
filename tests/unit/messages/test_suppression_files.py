"""Suppression lists of other products: columns by name, bad lines named, nothing lost."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.messages.kinds import SuppressionReason, SuppressionScope
from headrace.domain.messages.suppression_files import (
    BadLine,
    ImportRules,
    Listed,
    decode_file,
    read_suppressions,
    read_time,
)

RULES = ImportRules()
HARD, COMPLAINT, MANUAL = SuppressionReason


def read(text: str, rules: ImportRules = RULES) -> list[Listed | BadLine]:
    return list(read_suppressions(io.StringIO(text, newline=""), rules))


def one(text: str, rules: ImportRules = RULES) -> Listed:
    (found,) = read(text, rules)
    assert isinstance(found, Listed), found
    return found


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("text", "reason", "scope", "since"),
    [
        # SendGrid: bounces, spam reports.
        (
            "status,reason,email,created\n5.1.1,550 5.1.1 No such user,A@b.example,1700000000\n",
            *(HARD, "all", "2023-11-14T22:13:20"),
        ),
        (
            "email,ip,created\na@b.example,192.0.2.1,1700000000\n",
            *(COMPLAINT, "marketing", "2023-11-14T22:13:20"),
        ),
        # Mailgun: bounces, unsubscribes.
        (
            (
                "address,code,error,created_at\r\na@b.example,550,No such mailbox,"
                '"Fri, 21 Oct 2011 11:02:55 UTC"\r\n'
            ),
            *(HARD, "all", "2011-10-21T11:02:55"),
        ),
        (
            'address,tags,created_at\na@b.example,"[""*""]","Fri, 21 Oct 2011 11:02:55 UTC"\n',
            *(MANUAL, "marketing", "2011-10-21T11:02:55"),
        ),
        # Postmark.
        (
            (
                "EmailAddress,SuppressionReason,Origin,CreatedAt\n"
                "a@b.example,HardBounce,Recipient,2019-12-10T08:58:33-05:00\n"
            ),
            *(HARD, "all", "2019-12-10T13:58:33"),
        ),
        (
            (
                "EmailAddress,SuppressionReason,Origin,CreatedAt\n"
                "a@b.example,SpamComplaint,Recipient,2019-12-10T13:58:33Z\n"
            ),
            *(COMPLAINT, "marketing", "2019-12-10T13:58:33"),
        ),
        (
            (
                "EmailAddress,SuppressionReason,Origin,CreatedAt\n"
                "a@b.example,ManualSuppression,Customer,2019-12-10T13:58:33Z\n"
            ),
            *(MANUAL, "all", "2019-12-10T13:58:33"),
        ),
        (
            (
                "EmailAddress,SuppressionReason,Origin,CreatedAt\n"
                "a@b.example,ManualSuppression,Recipient,2019-12-10T13:58:33Z\n"
            ),
            *(MANUAL, "marketing", "2019-12-10T13:58:33"),
        ),
        # Amazon SES, with a header and as its import takes it.
        (
            (
                '"EmailAddress","Reason","LastUpdateTime"\n'
                '"a@b.example","COMPLAINT","2020-04-10T21:03:05.123000+00:00"\n'
            ),
            *(COMPLAINT, "marketing", "2020-04-10T21:03:05"),
        ),
        ("a@b.example,BOUNCE\n", HARD, "all", None),
        # Mailchimp: cleaned, unsubscribed.
        (
            (
                "Email Address,First Name,CLEAN_TIME,TAGS\n"
                'a@b.example,Ann,2024-01-02 03:04:05,"x, y"\n'
            ),
            *(HARD, "all", "2024-01-02T03:04:05"),
        ),
        (
            (
                "Email Address;First Name;UNSUB_TIME;UNSUB_REASON\n"
                "a@b.example;Ann;2024-01-02 03:04:05;NORMAL\n"
            ),
            *(MANUAL, "marketing", "2024-01-02T03:04:05"),
        ),
        ("E-Mail\ta@b\nignored\n", None, "", None),
        ("\ufeffE-mail\n\na@b.example\n", MANUAL, "all", None),
    ],
)
def test_files_of_other_products(
    text: str, reason: SuppressionReason | None, scope: str, since: str | None
) -> None:
    if reason is None:
        assert all(isinstance(found, BadLine) for found in read(text))
        return
    found = one(text)
    assert (found.email, found.reason, found.scope) == ("a@b.example", reason, scope)
    shown = None if found.since_us is None else found.since_us // 1_000_000
    assert shown == (None if since is None else us(since) // 1_000_000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("email,type\na@b.example,SoftBounce\n", "temporary"),
        ("status,reason,email\n4.2.2,mailbox full,a@b.example\n", "temporary"),
        ("address,code,error\na@b.example,450,later\n", "temporary"),
        # The reputation of the sender says nothing about the address.
        ("status,reason,email\n5.7.1,550 5.7.1 blocked,a@b.example\n", "the sender"),
        ("address,code,error\na@b.example,550,5.7.26 unauthenticated\n", "the sender"),
        ("email\nnobody\n", "nobody"),
        ("email,reason\n,bounce\n", "no address"),
        ("name,plan\nAnn,gold\n", "no column"),
        ('email\n"' + "x" * 200_000 + "\n", "not CSV"),
    ],
)
def test_a_line_that_is_not_imported_says_why(text: str, words: str) -> None:
    (found,) = read(text)
    assert isinstance(found, BadLine)
    assert words in found.message


def test_a_bad_line_does_not_affect_the_others() -> None:
    text = 'email,reason\na@b.example,bounce\nnobody\n"c@b.example","spam\nreport"\n'
    first, bad, last = read(text)
    assert isinstance(first, Listed)
    assert isinstance(bad, BadLine)
    assert bad.line == 3
    assert isinstance(last, Listed)
    assert (last.email, last.reason, last.line) == ("c@b.example", COMPLAINT, 5)


@pytest.mark.parametrize("line", ['"q@x.org"junk', '"q@x.org"junk,spam', '"q@x.org" "r@x.org"'])
def test_text_after_a_closing_quote_is_no_part_of_an_address(line: str) -> None:
    first, second = read(f"email,reason\n{line}\nb@x.org,spam\n")
    assert isinstance(first, BadLine)
    assert (first.line, "text follows a closing quote" in first.message) == (2, True)
    assert isinstance(second, Listed)
    assert second.email == "b@x.org"


def test_the_rules_decide_what_the_file_does_not_say() -> None:
    rules = ImportRules(reason=COMPLAINT, complaint_scope=SuppressionScope.ALL)
    found = one("email\na@b.example\n", rules)
    assert (found.reason, found.scope) == (COMPLAINT, "all")
    rules = ImportRules(scope=SuppressionScope.ALL)
    assert one("address,tags\na@b.example,*\n", rules).scope == "all"


def test_the_text_of_a_server_names_no_other_address() -> None:
    found = one("address,code,error\na@b.example,550,5.1.1 <a@b.example> unknown\n")
    assert "a@b" not in found.evidence
    assert "5.1.1" in found.evidence


@pytest.mark.parametrize("text", ["", "yesterday", "9" * 13, "9" * 30, "0001-01-01", "²" * 10])
def test_an_unreadable_time_is_none_or_past_the_epoch(text: str) -> None:
    found = read_time(text)
    assert found is None or found >= 0


def test_a_file_may_be_utf_16_and_nothing_else_is_guessed() -> None:
    assert decode_file("email\n".encode("utf-16")) == "email\n"
    assert decode_file(b"\xef\xbb\xbfemail\n") == "email\n"
    with pytest.raises(ValueError, match="UTF-8"):
        decode_file(b"email\n\xe9@b.example\n")


@given(st.text(alphabet=st.sampled_from('a@.b,;\t"\n\r\x00é=5'), max_size=300))
def test_no_text_is_an_error_and_every_result_has_its_line(text: str) -> None:
    lines = text.count("\n") + text.count("\r") + 1
    for found in read("email,reason\n" + text):
        assert 1 <= found.line <= lines + 1
