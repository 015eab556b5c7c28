"""Identifiers of nobody or of many people, which must never make one person of several.

A list is built in. A project adds its own with the policy `placeholder_identifiers`, and removes
built-in ones with a `!` before them.
"""

from __future__ import annotations

import re
from functools import lru_cache

from headrace.domain.events.identity import IdentityType

#: Longest value of the policy, in characters, and how many words it may hold.
POLICY_CHARACTERS_MAX = 4000
WORDS_MAX = 200
#: Removes the whole built-in list.
NONE_BUILT_IN = "!*"

#: What programs send without an identity. Compared without case and surrounding white space.
WORDS = frozenset(
    {
        *("null", "(null)", "<null>", "nil", "none", "undefined", "nan", "void", "empty"),
        *("anonymous", "anon", "unknown", "guest", "nobody", "not_authenticated", "test"),
        *("n/a", "na", "n.a.", "not set", "not_set", "(not set)", "-", "--", "-1"),
        *("true", "false", "id", "distinct_id", "distinctid", "email"),
        *("[object object]", "[]", "{}"),
    }
)
#: Local parts of addresses of a role, not of a person.
ROLES = frozenset(
    {
        *("noreply", "no-reply", "no_reply", "no.reply", "donotreply", "do-not-reply"),
        *("do_not_reply", "do.not.reply", "mailer-daemon", "postmaster", "hostmaster"),
        *("webmaster", "abuse", "info", "admin", "administrator", "root", "support", "sales"),
        *("contact", "office", "nobody", "null", "undefined", "anonymous", "unknown"),
    }
)
#: All-zero UUIDs and numbers, with any separators, and UUIDs of only `f`.
_ZEROS = re.compile(r"\{?(?:0[0-]*|f{8}-f{4}-f{4}-f{4}-f{12})\}?")


class Placeholders:
    """The list of one project.

    Args:
        text: value of the policy: words separated by commas. `word` matches itself,
            `role@` for that role at any domain, `name@domain.example` for the one address; each
            with `!` before it is no placeholder, and `!*` takes the built-in list out.
    """

    def __init__(self, text: str = "") -> None:
        words, roles = set(WORDS), set(ROLES)
        entries = split_words(text)
        self._zeros = NONE_BUILT_IN not in entries
        if not self._zeros:
            words, roles = set(), set()
        added = [entry for entry in entries if not entry.startswith("!")]
        allowed = {entry[1:] for entry in entries if entry.startswith("!")}
        words |= {entry for entry in added if not entry.endswith("@")}
        roles |= {entry[:-1] for entry in added if entry.endswith("@")}
        self._words = frozenset(words - allowed)
        self._roles = frozenset(roles - {entry[:-1] for entry in allowed if entry.endswith("@")})
        self._allowed = frozenset(allowed)

    def __call__(self, kind: IdentityType, value: str) -> bool:
        """Whether an identifier is a placeholder.

        Args:
            value: external id as sent, normalized e-mail, or canonical contact id.
        """
        if kind is IdentityType.CONTACT_ID:
            return self._zeros and _ZEROS.fullmatch(value) is not None
        text = value.strip().casefold()
        if text in self._words:
            return True
        if kind is IdentityType.EMAIL or "@" in text:
            return text.partition("@")[0] in self._roles and text not in self._allowed
        if self._zeros and text[:1] in "0f{" and text not in self._allowed:
            return _ZEROS.fullmatch(text) is not None
        return False

    def is_unset_key(self, key: str) -> bool:
        """Whether an idempotency key is only blanks or what programs send for an unset variable.

        Roles such as `info@` identify many people, but may well identify an event.
        """
        text = key.strip().casefold()
        if not text or text in self._words:
            return True
        return self._zeros and text not in self._allowed and _ZEROS.fullmatch(text) is not None


def split_words(text: str) -> list[str]:
    """The words of the policy, in comparable form."""
    return [word for part in text.split(",") if (word := part.strip().casefold())]


def check_words(text: str) -> str:
    """Return the value of the policy as it is stored.

    Raises:
        ValueError: with a sentence for the operator.
    """
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text):
        message = "must not contain control characters"
        raise ValueError(message)
    words = list(dict.fromkeys(split_words(text)))
    if len(words) > WORDS_MAX or len(text) > POLICY_CHARACTERS_MAX:
        message = (
            f"must be at most {WORDS_MAX} words separated by commas, "
            f"{POLICY_CHARACTERS_MAX} characters in all"
        )
        raise ValueError(message)
    if "!" in words:
        message = "has a ! without a word after it"
        raise ValueError(message)
    return ", ".join(words)


#: The list of a project with the default policy.
BUILT_IN = Placeholders()


@lru_cache(maxsize=256)
def placeholders(text: str) -> Placeholders:
    """The list of a project by its policy."""
    return Placeholders(text) if text else BUILT_IN
