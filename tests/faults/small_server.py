"""The server with small limits, so that parts begin, keys move and the log is emptied often."""

from __future__ import annotations

from headrace.cli import main
from headrace.store.engine.sqlite import writer
from headrace.store.queues.sqlite import accept, keys, parts

if __name__ == "__main__":
    vars(parts)["PART_EVENTS"] = 8
    vars(keys)["WAITING_MAX"] = 6
    vars(keys)["CHANGES_PER_COUNT"] = 1
    vars(keys)["CHANGES_PER_SLICE"] = 1
    vars(accept)["Keys"] = lambda: keys.Keys(slice_keys=2)
    vars(writer)["CHECKPOINT_PAGES"] = 50
    main()
