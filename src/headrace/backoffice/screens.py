"""Every screen there is, file by file."""

from __future__ import annotations

from headrace.backoffice import audit, home, projects, reveal, sign_in, welcome
from headrace.backoffice.screen import Screen

SCREENS: tuple[Screen, ...] = (
    *home.SCREENS,
    *sign_in.SCREENS,
    *welcome.SCREENS,
    *projects.SCREENS,
    *audit.SCREENS,
    *reveal.SCREENS,
)
