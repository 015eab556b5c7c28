"""The interface of every file in `scenarios/`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.options import Options
from bench.results import Outcome
from bench.stores import StoreKind

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One question about the service, and the measurement that answers it."""

    #: What `--only` takes.
    name: str
    title: str
    #: How it is measured, for the reader of the page.
    method: str
    #: Sets up, runs its interleaved rounds, reports each on `Progress`, cleans up after itself.
    run: Callable[[Options, Progress], Outcome]
    #: Kinds of store that it can be run over.
    stores: frozenset[StoreKind] = frozenset({StoreKind.SQLITE})
