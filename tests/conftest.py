import os

import pytest
from hypothesis import settings

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
