"""Labels of the reasons why a hit is from a machine or a proxy."""

from __future__ import annotations

VERDICT_REASONS = {
    "prefetch_proxy": "loaded ahead by a privacy proxy",
    "head_request": "asked only for headers",
    "honeypot": "followed the hidden link",
    "burst": "many requests at once from one address",
    "too_early": "before the mail had arrived",
    "declared_bot": "identifies itself as a program",
    "scanner_network": "from a network that scans mail",
    "google_image_proxy": "through Google's image proxy",
    "yahoo_mail_proxy": "through Yahoo's image proxy",
}
