"""What one run measures, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import msgspec

from bench.stores import StoreKind

#: Size of the large store with `--full`.
FULL_STORE_EVENTS = 10_000_000
#: Events of the backlog with `--full`.
FULL_BACKLOG_EVENTS = 1_000_000


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Every load is bounded by `rounds`, `seconds` and the events asked for."""

    out: Path
    #: The kind of store of the servers.
    store: StoreKind = StoreKind.SQLITE
    quick: bool = False
    #: Rounds are interleaved over the contenders, so that a disturbance affects all of them.
    rounds: int = 3
    #: Length of one measurement.
    seconds: int = 5
    #: Load sent before a measurement and not counted.
    warmup_s: int = 1
    connections: tuple[int, ...] = (64, 256)
    #: Requests a second of the open-loop generator.
    rates: tuple[int, ...] = (500, 1_000, 5_000, 10_000)
    #: Rates that the hand-written endpoint can be expected to reach.
    baseline_rates: tuple[int, ...] = (500, 1_000)
    large_store_events: int = 1_000_000
    #: Size of the backlog when a worker is started.
    backlog_events: int = 200_000
    #: Events a second for measuring the time until they are processed.
    processed_rates: tuple[int, ...] = (500, 1_000, 2_000)
    #: Deliveries for measuring throughput.
    deliveries: int = 20_000
    #: Contacts of the large store of contacts.
    contacts: int = 1_000_000

    @classmethod
    def quick_look(cls, out: Path) -> Self:
        """One short round that shows that everything runs; its figures are not for quoting."""
        return cls(
            out=out,
            quick=True,
            rounds=1,
            seconds=2,
            connections=(64,),
            rates=(500, 1_000, 5_000),
            baseline_rates=(500,),
            large_store_events=100_000,
            backlog_events=20_000,
            processed_rates=(500, 1_000),
            deliveries=2_000,
            contacts=20_000,
        )

    @property
    def stores(self) -> Path:
        """Folder for the databases of a run: next to the results, so on the same disk."""
        return self.out / "stores"

    def described(self) -> dict[str, Any]:
        """The options that appear in the results, without paths."""
        kept = msgspec.structs.asdict(self)
        del kept["out"]
        return kept
