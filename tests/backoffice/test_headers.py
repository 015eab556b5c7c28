"""Headers of every response, and what no page contains."""

from __future__ import annotations

import re

import pytest

from headrace.backoffice.screens import SCREENS
from headrace.store.contract.access import Project
from tests.backoffice.cast import Person, project_path

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGES = [
    screen.path
    for screen in SCREENS
    if screen.method == "GET" and not screen.path.endswith("/stream")
]


def fill(path: str, project: Project) -> str:
    path = path.replace("/projects/{project}", project_path(project))
    return re.sub(r"\{[^}]+\}", "absent", path)


@pytest.mark.parametrize("path", [*PAGES, "/nothing/here"])
def test_every_page_is_sealed(path: str, owner: Person, project: Project) -> None:
    answer = owner.get(fill(path, project))
    assert answer.status_code < 500
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    # Names that people choose appear in attributes and between tags, and may be anything.
    tags = " ".join(re.findall(r"<[^<>]*>", re.sub(r'"[^"]*"', '""', answer.text)))
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style", tags)
    assert not re.search(r"(?:href|src|action)=\"javascript:", answer.text)
    assert re.findall(r"<script(?![^>]*\ssrc=)", answer.text) == []
    assert re.findall(r"(?:src|href|action)=\"(?:https?:)?//", answer.text) == []


def test_styles_and_scripts_may_be_kept_for_ever_under_their_content(owner: Person) -> None:
    page = owner.get("/projects").text
    files = re.findall(r"(/backoffice/static/[0-9a-f]{16}/[a-z]+\.(?:css|js|svg))", page)
    assert {file.rpartition(".")[2] for file in files} == {"css", "js", "svg"}
    for file in files:
        answer = owner.client.get(file)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-security-policy"] == POLICY
        other = re.sub(r"[0-9a-f]{16}", "0" * 16, file)
        assert owner.client.get(other).status_code == 404


def test_the_theme_is_kept_and_the_redirect_stays_on_this_server(owner: Person) -> None:
    form = {"theme": "dark", "back": "/backoffice/projects"}
    answer = owner.post("/theme", form)
    assert answer.headers["location"] == "/backoffice/projects"
    assert 'data-theme="dark"' in owner.get("/projects").text
    for back in ("https://evil.example", "//evil.example", "/backoffice//evil.example", "/\\evil"):
        answer = owner.post("/theme", {"theme": "auto", "back": back})
        assert answer.headers["location"] == "/backoffice"
    assert "data-theme" not in owner.get("/projects").text


def test_an_unknown_path_shows_the_signed_in_user(owner: Person, nobody: Person) -> None:
    page = owner.get("/nothing/here")
    assert page.status_code == 404
    assert owner.email in page.text
    assert "Sign in" not in page.text

    stranger = nobody.get("/nothing/here")
    assert stranger.status_code == 404
    assert owner.email not in stranger.text
    assert "Sign in" in stranger.text
