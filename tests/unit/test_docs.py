"""The documentation matches the code, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer

from headrace.cli.application import app
from headrace.config import _OTHER_VARIABLES, SETTINGS, variable

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md")))
LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
#: A path from the root of the repository, as pages write it.
REPOSITORY_PATH = re.compile(r"(?:src|tests|bench|scripts|requirements)/[\w./-]+")
VARIABLE = re.compile(r"\bHEADRACE_[A-Z][A-Z_]*[A-Z]\b")
#: Made once: it takes a tenth of a second.
COMMAND = typer.main.get_command(app)
#: Ends a command inside a line of a shell.
SHELL_ENDS = frozenset({"#", "|", "&&", "||", ";", ">", "2>", "<", "&"})
#: Concatenated here, so that this file does not contain what it searches for.
REGISTRIES = tuple("".join(parts) for parts in (("pypi", ".org"), ("python", "hosted.org")))
REGISTRIES += tuple("".join(parts) for parts in (("registry.", "npmjs"), ("crates", ".io")))
MACHINE_PATHS = tuple(f"/{folder}/" for folder in ("root", "work", "home/user", "Users"))


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code_lines(text: str) -> Iterator[str]:
    """Lines of code blocks, fenced or indented, with continued ones joined."""
    fenced = False
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def inline_code(text: str) -> Iterator[str]:
    for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text):
        yield " ".join(code.split())


def commands(page: Path) -> Iterator[list[str]]:
    """Every call of `headrace` that a page shows, split into words."""
    text = page.read_text("utf-8")
    for line in (*code_lines(text), *inline_code(text)):
        words = shlex.split(line, comments=True) if line.startswith("headrace ") else []
        end = next((i for i, word in enumerate(words) if word in SHELL_ENDS), len(words))
        if words:
            yield words[1:end]


def anchor(heading: str) -> str:
    """The anchor that a forge gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_has_a_target(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.exists(), f"{link} is not there"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        if parts.fragment:
            anchors = {anchor(found) for found in HEADING.findall(target.read_text("utf-8"))}
            assert parts.fragment in anchors, f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_shown_exists_with_its_options(page: Path) -> None:
    for words in commands(page):
        shown = f"headrace {shlex.join(words)}"
        command: Any = COMMAND
        rest = list(words)
        # A word in capitals is a placeholder; the usage of a group ends there.
        while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
            if rest[0].isupper() or rest[0] in {"…", "..."}:
                break
            # Where a text names several: `dead-letters list|replay`.
            names = rest.pop(0).split("|")
            for name in names:
                assert name in command.commands, f"{shown}: there is no command {name}"
            command = command.commands[names[0]]
        known = {"--help"} | {option for parameter in command.params for option in parameter.opts}
        for word in rest:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{shown}: there is no {word}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_variable_named_is_a_setting(page: Path) -> None:
    known = {variable(setting) for setting in SETTINGS} | _OTHER_VARIABLES
    known |= {f"{name}_FILE" for name in known}
    for name in VARIABLE.findall(page.read_text("utf-8")):
        assert name in known, f"{name} is no setting"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_path_named_exists(page: Path) -> None:
    for code in inline_code(page.read_text("utf-8")):
        if REPOSITORY_PATH.fullmatch(code):
            assert (ROOT / code).exists(), f"{code} is not there"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_make_target_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = page.read_text("utf-8")
    for line in (*code_lines(text), *inline_code(text)):
        called = re.match(r"make ([a-z-]+)", line)
        assert called is None or called[1] in targets, f"{line}: no such target"


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    for module in (ROOT / "src" / "headrace" / "observability").glob("*metrics.py"):
        for name in re.findall(r'"(headrace_[a-z_]+)"', module.read_text("utf-8")):
            assert f"`{name}" in page, f"{name} is not in docs/operations.md"


def test_the_list_of_pages_is_whole() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / link).resolve() for link in LINK.findall(index.read_text("utf-8"))}
    missing = [named(page) for page in PAGES if page not in {*listed, index}]
    assert not missing, "docs/index.md does not list them"


def test_index_of_test_support_is_complete() -> None:
    """One entry for each module, and none for a removed module."""
    support = ROOT / "tests" / "support"
    rows = re.findall(r"^\| (`.*?) \|", (support / "README.md").read_text("utf-8"), re.MULTILINE)
    listed = sorted(name for row in rows for name in re.findall("`([^`]+)`", row))
    assert listed == sorted({path.stem for path in support.glob("*.py")} - {"__init__"})


def test_the_readme_has_a_place_for_figures() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert text.count("<!-- figures") == 1
    assert text.index("<!-- figures") < text.index("<!-- /figures -->")


def test_nothing_tracked_names_a_registry_or_a_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git work tree: an archive has no list of tracked files")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [(name, bad) for bad in (*REGISTRIES, *MACHINE_PATHS) if bad in text]
    assert not found


def test_git_ignores_a_store_and_its_companions() -> None:
    """Else the key that opens the secrets of a store could be committed with them."""
    lines = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    for companion in ("", "-wal", "-shm", ".lock", ".reserve", ".key"):
        assert any(fnmatch("headrace.db" + companion, line) for line in lines if line), companion
