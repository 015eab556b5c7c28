"""Fair scheduling: limits, turns, and no subscriber blocks another."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from headrace.pipeline.delivering.fair_scheduler import Candidate, FairnessLimits, FairScheduler

LIMITS = FairnessLimits(total=16, reserved=4, share_first=2, share_max=4)

LINES = st.lists(
    st.builds(
        Candidate,
        st.sampled_from([f"s{number}" for number in range(12)]),
        st.integers(1, 4),
        st.integers(1, 10),
        st.booleans(),
    ),
    max_size=30,
    unique_by=lambda queue: (queue.subscriber_id, queue.project_id),
)


def assigned(scheduler: FairScheduler, *candidates: Candidate) -> dict[tuple[str, int], int]:
    """Schedule the candidates and start what was scheduled."""
    result = scheduler.assign(candidates)
    for queue, count in result:
        for _ in range(count):
            scheduler.began(queue.subscriber_id, queue.project_id)
    return {(queue.subscriber_id, queue.project_id): count for queue, count in result}


def queue(subscriber: str, project: int = 1, due: int = 100, *, probe: bool = False) -> Candidate:
    return Candidate(subscriber, project, due, probe)


def test_a_share_begins_small_and_grows_with_success() -> None:
    scheduler = FairScheduler(LIMITS)
    assert assigned(scheduler, queue("a")) == {("a", 1): 2}
    assert assigned(scheduler, queue("a")) == {}
    for _ in range(5):
        scheduler.succeeded("a")
    assert assigned(scheduler, queue("a")) == {("a", 1): 2}
    scheduler.failed("a")
    for _ in range(4):
        scheduler.ended("a", 1)
    assert assigned(scheduler, queue("a")) == {("a", 1): 1}


def test_a_probe_is_the_only_delivery_in_flight() -> None:
    scheduler = FairScheduler(LIMITS)
    scheduler.succeeded("a")
    assert assigned(scheduler, queue("a", probe=True)) == {("a", 1): 1}
    assert assigned(scheduler, queue("a", probe=True)) == {}


def test_a_project_with_many_subscribers_does_not_crowd_out_one_with_one() -> None:
    scheduler = FairScheduler(FairnessLimits(total=4, reserved=0, share_first=2, share_max=4))
    crowd = [queue(f"s{number}") for number in range(20)]
    assert assigned(scheduler, *crowd, queue("lonely", project=2))[("lonely", 2)] == 2


def test_last_slots_go_to_subscribers_without_one() -> None:
    scheduler = FairScheduler(LIMITS)
    busy = [queue(f"s{number}") for number in range(6)]
    assert sum(assigned(scheduler, *busy).values()) == 12
    scheduler.succeeded("s0")
    assert assigned(scheduler, queue("s0")) == {}
    assert assigned(scheduler, queue("new")) == {("new", 1): 1}


def test_least_recently_served_goes_first() -> None:
    scheduler = FairScheduler(FairnessLimits(total=1, reserved=0, share_first=1, share_max=1))
    names = ["a", "b", "c"]
    order = []
    for _ in range(6):
        ((key, _),) = assigned(scheduler, *(queue(name) for name in names)).items()
        order.append(key[0])
        scheduler.ended(*key)
    assert order == names * 2


def test_a_handler_serves_its_projects_in_turns() -> None:
    scheduler = FairScheduler(FairnessLimits(total=16, reserved=0, share_first=4, share_max=4))
    assert assigned(scheduler, queue("h", 1), queue("h", 2)) == {("h", 1): 2, ("h", 2): 2}


@given(st.lists(LINES, max_size=6), st.randoms(use_true_random=False))
def test_limits_hold_and_no_slot_is_wasted(
    rounds: list[list[Candidate]], rng: random.Random
) -> None:
    scheduler = FairScheduler(LIMITS)
    in_flight: list[tuple[str, int]] = []
    for queues in rounds:
        given_out = assigned(scheduler, *queues)
        for key, count in given_out.items():
            in_flight += [key] * count
        due = {(one.subscriber_id, one.project_id): one.due for one in queues}
        assert all(count <= due[key] for key, count in given_out.items())
        assert scheduler.in_flight == len(in_flight) <= LIMITS.total
        names = [name for name, _ in in_flight]
        assert all(names.count(name) <= LIMITS.share_max for name in names)
        idle = {one.subscriber_id for one in queues} - set(names)
        # Every subscriber with nothing in flight got a delivery, unless all places are taken.
        assert not idle or len(in_flight) == LIMITS.total
        rng.shuffle(in_flight)
        keep = rng.randint(0, len(in_flight))
        for key in in_flight[keep:]:
            scheduler.ended(*key)
        del in_flight[keep:]
