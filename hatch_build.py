"""Adds the project's address to the metadata of a build.

An address that others could register has no place in the source: a release names it in
`PROJECT_URL`. Without it the package names none.
"""

from __future__ import annotations

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

VARIABLE = "PROJECT_URL"
PAGES = {
    "Homepage": "",
    "Documentation": "/tree/main/docs",
    "Changelog": "/blob/main/CHANGELOG.md",
    "Source": "",
    "Issues": "/issues",
}


class ProjectUrls(MetadataHookInterface):
    """Sets `urls` from the address of the repository at its forge."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the URLs.

        Raises:
            ValueError: the address is no https URL.
        """
        url = os.environ.get(VARIABLE, "").rstrip("/")
        if url and not url.startswith("https://"):
            message = f"{VARIABLE} must be an https URL, got {url!r}"
            raise ValueError(message)
        metadata["urls"] = {name: url + path for name, path in PAGES.items()} if url else {}
