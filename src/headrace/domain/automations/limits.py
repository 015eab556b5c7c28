"""Size limits of automations and their parts."""

from __future__ import annotations

#: UTF-8 bytes of a definition, and of an editor layout, as compact JSON.
DEFINITION_BYTES_MAX = 256 * 1024
EDITOR_LAYOUT_BYTES_MAX = 256 * 1024
#: Bytes of a whole document: both of the above, name, description and white space.
DOCUMENT_BYTES_MAX = 1024 * 1024
#: Nesting of a document; a definition needs about a dozen levels.
DEPTH_MAX = 32

STEPS_MAX = 200
CONNECTIONS_MAX = 400
EXIT_RULES_MAX = 10
#: Cases of a condition, and events of a wait.
ALTERNATIVES_MAX = 10
#: Problems, and warnings, that one response lists; further ones are counted.
PROBLEMS_MAX = 100

KEY_CHARACTERS_MAX = 64
#: Any other text in a definition.
TEXT_CHARACTERS_MAX = 1000

PATH_CHARACTERS_MAX = 500
PATH_SEGMENTS_MAX = 20

FILTER_DEPTH_MAX = 5
COMPARISONS_MAX = 100
#: Values of `in` and `not_in`, members of `correlate`, `variables`, `set`, `unset` and `payload`.
ITEMS_MAX = 100
#: Elements of a list in an event that `contains` reads.
LIST_ELEMENTS_MAX = 1000
#: Characters of a number that can be compared; a longer one equals nothing.
NUMBER_CHARACTERS_MAX = 1000
#: Characters of a text that may be a time.
TIME_CHARACTERS_MAX = 64

#: One year, the longest delay, timeout, spread and offset.
SECONDS_MAX = 31_536_000
#: How far before a wait its event may have happened: 30 days.
LOOK_BACK_SECONDS_MAX = 2_592_000
MAX_AGE_SECONDS = 86_400
PUSH_TTL_SECONDS_MAX = 2_419_200

#: Characters of a value that evidence repeats.
EVIDENCE_CHARACTERS_MAX = 64
#: Late events that a wait lists.
LATE_EVENTS_MAX = 5
#: UTF-8 bytes of the payload of an emitted event.
EMITTED_PAYLOAD_BYTES_MAX = 65_536
