"""Inlines CSS in a process of its own; run as a script, never imported.

The library recurses as deeply as the HTML nests, so hostile HTML can overflow its stack or fill the
memory. Here that only ends a process with limits. Reads HTML, writes HTML.
"""

import resource
import sys

import css_inline

MEMORY_BYTES_MAX = 384 * 1024 * 1024
CPU_S_MAX = 5


def main() -> None:
    """Inline the HTML on standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Media queries cannot be inlined, so the style elements stay.
    inliner = css_inline.CSSInliner(keep_style_tags=True, load_remote_stylesheets=False)
    html = sys.stdin.buffer.read().decode()
    sys.stdout.buffer.write(inliner.inline(html).encode())


if __name__ == "__main__":
    main()
