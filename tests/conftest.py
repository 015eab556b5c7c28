import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.support import postgres

# A busy machine is no failure, so no example has a deadline of its own: each test has one. A run
# on somebody's desk looks at new examples every time; the verdict on a change does not.
settings.register_profile("desk", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        default=f"{postgres.NEWEST},{postgres.OLDEST}",
        help="major releases of PostgreSQL to run on, where installed; empty: none",
    )


#: Folders whose tests share a server for the whole run, a browser, or built archives; longer names
#: first.
_SHARING = (
    *("tests/backoffice/browser/", "tests/backoffice/", "tests/http/"),
    *("tests/deploy/", "tests/packaging/"),
)


def _group(nodeid: str) -> str:
    """Tests of one group run in one process: those that share a server, else those of a file."""
    path = nodeid.partition("::")[0]
    return next((folder for folder in _SHARING if path.startswith(folder)), path)


class _GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives whole groups to processes.

    In place of the marks of `--dist=loadgroup`: pytest-xdist 3.8 ignores them from pytest 9.2 on
    (its issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _GroupScheduling(config, log)


#: Files whose tests take a minute and more.
_LONG = ("tests/property/test_queue_model.py", "tests/faults/test_crashing_handlers.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest groups first, so that no process works on one alone in the end."""
    first = (*_SHARING, *_LONG)
    items.sort(key=lambda item: _group(item.nodeid) not in first)
