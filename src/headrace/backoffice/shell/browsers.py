"""Short names of browsers, from their user agent."""

from __future__ import annotations

#: The first match counts: the user agents of earlier names also contain later ones.
_BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_CHARACTERS = 60


def browser_words(user_agent: str) -> str:
    """`Firefox on Linux`; an unknown user agent as it is, shortened."""
    browser = next((words for part, words in _BROWSERS if part in user_agent), "")
    system = next((words for part, words in _SYSTEMS if part in user_agent), "")
    if browser and system:
        return f"{browser} on {system}"
    return user_agent[:_CHARACTERS] or "unknown"
