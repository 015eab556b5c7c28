"""What browsers let pages do."""

from __future__ import annotations

from starlette.responses import Response

#: No inline script, no inline style, nothing from other hosts, in nobody's frame.
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: The same for a page that shows a mail in a frame.
PAGE_WITH_MAIL = f"{PAGE}; frame-src 'self'"
#: A mail, which anybody may have written: its own styles and the images inside it, no script, no
#: form, no request to anywhere, and an origin that is nobody's, so that no cookie is within reach.
MAIL = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'; sandbox"
)
HEADER = "content-security-policy"


def with_mail(response: Response) -> Response:
    """Let a page show a mail of this server in a frame."""
    response.headers[HEADER] = PAGE_WITH_MAIL
    return response
