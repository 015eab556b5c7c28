"""What a batch adds to the catalog: all events counted, payloads sampled only under a backlog."""

from __future__ import annotations

import itertools

import pytest

from headrace.domain.catalog.paths import PathBook
from headrace.domain.catalog.shapes import Shape, shape_of
from headrace.pipeline.processing import cataloguer
from headrace.pipeline.processing.cataloguer import (
    CERTAIN_PER_NAME,
    CERTAIN_PER_SECOND,
    EVERY,
    Cataloguer,
)
from headrace.store.contract.catalog import NameSeen
from headrace.store.contract.processing import Claimed
from tests.support.events import START_US

_sequences = itertools.count(1)


def claimed(payload: str = '{"a":1}', *, event: str = "order.paid", project_id: int = 1) -> Claimed:
    sequence = next(_sequences)
    return Claimed(
        sequence=sequence,
        id=sequence.to_bytes(16, "big"),
        project_id=project_id,
        lane=0,
        event=event,
        contact_id=None,
        external_id="u1",
        email=None,
        email_original=None,
        occurred_us=START_US,
        received_us=START_US + sequence,
        source=0,
        attempt=1,
        crashes=0,
        payload=payload,
    )


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def analyze(batch: list[Claimed], *, backlog: bool = False) -> list[NameSeen]:
    return Cataloguer(Clock()).analyze(batch, backlog=backlog)


def test_names_come_in_order_project_by_project() -> None:
    batch = [claimed(event=e, project_id=p) for p, e in ((2, "a"), (1, "z"), (1, "b"), (1, "z"))]
    found = analyze(batch)
    assert [(n.project_id, n.event, n.events) for n in found] == [
        (1, "b", 1),
        (1, "z", 2),
        (2, "a", 1),
    ]


def test_first_event_with_a_type_is_recorded() -> None:
    batch = [claimed(p) for p in ('{"a":1}', '{"a":2,"b":1}', '{"a":"x"}', '{"a":null}')]
    (name,) = analyze(batch)
    a, b = name.paths
    assert [(f.index, f.event_id) for f in a.firsts] == [
        (index, batch[index].id) for index in (0, 2, 3)
    ]
    assert (a.present, a.last_index, a.sequence) == (4, 3, batch[3].sequence)
    assert (b.present, b.last_index, b.firsts[0].event_id) == (1, 1, batch[1].id)
    assert (name.sample, name.sample_id) == (batch[1].payload, batch[1].id)


def test_all_payloads_are_inspected_while_there_is_no_backlog() -> None:
    batch = [claimed() for _ in range(3 * CERTAIN_PER_SECOND)]
    (name,) = analyze(batch)
    assert (name.events, name.inspected) == (len(batch), len(batch))


def test_a_backlog_is_sampled_past_what_a_second_allows() -> None:
    clock = Clock()
    looking = Cataloguer(clock)
    batch = [claimed() for _ in range(CERTAIN_PER_SECOND // 2)]
    inspected = []
    for _ in range(3):
        (name,) = looking.analyze(batch, backlog=True)
        assert name.events == len(batch)
        assert name.paths[0].present == name.inspected
        inspected.append(name.inspected)
    few = CERTAIN_PER_NAME + len(batch) // EVERY - CERTAIN_PER_NAME // EVERY
    assert inspected == [len(batch), len(batch), few]
    clock.now_s += 0.5
    (name,) = looking.analyze(batch, backlog=True)
    assert name.inspected == len(batch)


def test_every_name_of_a_backlog_is_inspected() -> None:
    clock = Clock()
    looking = Cataloguer(clock)
    looking.analyze([claimed() for _ in range(CERTAIN_PER_SECOND)], backlog=True)
    batch = [claimed(event=f"e{number}") for number in range(500)]
    found = looking.analyze(batch, backlog=True)
    assert {(name.events, name.inspected) for name in found} == {(1, 1)}


def test_unreadable_payloads_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No accepted payload is known to cause an error, so the test injects one."""

    def faulty(payload: str, book: PathBook) -> Shape:
        if "boom" in payload:
            raise RecursionError
        return shape_of(payload, book)

    monkeypatch.setattr(cataloguer, "shape_of", faulty)
    (name,) = analyze([claimed(), claimed('{"boom":1}'), claimed()])
    assert (name.events, name.inspected, name.failures) == (3, 2, 1)
    assert [path.path for path in name.paths] == ["a"]
