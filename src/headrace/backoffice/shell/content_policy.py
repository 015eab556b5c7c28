"""Content security policies of pages."""

from __future__ import annotations

from starlette.responses import Response

#: No inline script, no inline style, nothing from other hosts, no framing.
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: The same for a page that shows a mail in a frame.
PAGE_WITH_MAIL = f"{PAGE}; frame-src 'self'"
#: For a mail, which is untrusted: its own styles and embedded images only, no script, no form, no
#: request, and an opaque origin, so that it cannot reach cookies.
MAIL = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'; sandbox"
)
HEADER = "content-security-policy"


def with_mail(response: Response) -> Response:
    """Let a page show a mail from this server in a frame."""
    response.headers[HEADER] = PAGE_WITH_MAIL
    return response
