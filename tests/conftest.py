import os

from hypothesis import settings

# A busy machine is no failure, so no example has a deadline of its own: each test has one. A run
# on somebody's desk looks at new examples every time; the verdict on a change does not.
settings.register_profile("desk", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
