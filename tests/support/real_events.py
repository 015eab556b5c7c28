"""Real webhook bodies as events, for every ingest route: single, batch, lines, import."""

from __future__ import annotations

from dataclasses import dataclass

from tests.data.octokit_examples import read_examples


@dataclass(frozen=True, kw_only=True)
class RealEvent:
    """One event as JSON text, and its payload, which must come back byte for byte."""

    name: str
    external_id: str
    text: bytes
    payload: bytes

    def is_kept_in(self, shown: bytes) -> bool:
        """Whether the text of `GET /events/{id}` contains the payload as it was sent."""
        return b'"payload":' + self.payload + b',"occurred_at"' in shown


def real_events(*, one_line: bool = False, keys: str = "") -> list[RealEvent]:
    """Every example as an event.

    Args:
        one_line: without white space between tokens of payloads, as newline-delimited JSON
            requires.
        keys: start of the idempotency keys; empty leaves keys out.
    """
    events = []
    for number, example in enumerate(read_examples()):
        payload = example.payload_on_one_line if one_line else example.payload.strip()
        external_id = f"example-{number}"
        key = f',"idempotency_key":"{keys}{number}"' if keys else ""
        head = f'{{"event":"{example.event}","external_id":"{external_id}"{key},"payload":'
        events.append(
            RealEvent(
                name=example.event,
                external_id=external_id,
                text=head.encode() + payload + b"}",
                payload=payload,
            )
        )
    return events
