"""Requests as code that can be pasted: curl, Python with httpx, TypeScript with fetch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.http.openapi.examples import example_of

JSON = "application/json"
LANGUAGES = ("curl", "Python", "TypeScript")


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A request, in every language."""

    curl: str
    python: str
    typescript: str

    def of(self) -> list[tuple[str, str]]:
        """`(language, code)` of each."""
        return list(zip(LANGUAGES, (self.curl, self.python, self.typescript), strict=True))


def sample_of(
    method: str, path: str, operation: Mapping[str, Any], components: Mapping[str, Any]
) -> Sample:
    """The request of an operation: the example of its body, and no optional parameter."""
    target = path
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            value = str(example_of(parameter["schema"], components))
            target = target.replace(f"{{{parameter['name']}}}", value)
    media, body = _body(operation, components)
    is_operators = {"operator": []} in operation["security"]
    secret = "HEADRACE_OPERATOR_TOKEN" if is_operators else "HEADRACE_KEY"
    key = secret if operation["security"] else None
    request = _Request(
        method=method.upper(),
        target=target,
        key=key,
        body=body,
        media=media,
        is_stream=_is_stream(operation),
    )
    return Sample(curl=_curl(request), python=_python(request), typescript=_typescript(request))


#: A quote inside a quoted text of a shell.
_QUOTE, _QUOTED = "'", "'\\''"


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    method: str
    target: str
    #: Name of the variable that holds the credential.
    key: str | None
    body: Any
    #: Of the body; a text that is no JSON is sent as it is.
    media: str
    is_stream: bool

    @property
    def has_response(self) -> bool:
        return self.method != "DELETE"


def _body(operation: Mapping[str, Any], components: Mapping[str, Any]) -> tuple[str, Any]:
    """The media type and the value of a body."""
    described = operation.get("requestBody")
    if described is None or not described["required"]:
        return JSON, None
    contents = described["content"]
    media = JSON if JSON in contents else next(iter(contents))
    content = contents[media]
    return media, content.get("example") or example_of(content["schema"], components)


def _is_stream(operation: Mapping[str, Any]) -> bool:
    return "text/event-stream" in operation["responses"].get("200", {}).get("content", {})


def _curl(request: _Request) -> str:
    flags = "-N " if request.is_stream else ""
    # With a body, curl uses POST by default.
    usual = "GET" if request.body is None else "POST"
    method = "" if request.method == usual else f"-X {request.method} "
    lines = [f'curl {flags}{method}"$HEADRACE_URL{request.target}"']
    if request.key is not None:
        lines.append(f'  -H "Authorization: Bearer ${request.key}"')
    if request.body is not None:
        lines.append(f'  -H "Content-Type: {request.media}"')
        is_json = request.media == JSON
        text = json.dumps(request.body, ensure_ascii=False) if is_json else str(request.body)
        option = "-d" if is_json else "--data-binary"
        lines.append(f"  {option} '{text.replace(_QUOTE, _QUOTED)}'")
    return " \\\n".join(lines)


def _python(request: _Request) -> str:
    headers = (
        ""
        if request.key is None
        else (f'\n    headers={{"Authorization": f"Bearer {{os.environ[\'{request.key}\']}}"}},')
    )
    lines = [
        "import os",
        "",
        "import httpx",
        "",
        f'headrace = httpx.Client(\n    base_url=os.environ["HEADRACE_URL"],{headers}\n)',
    ]
    if request.is_stream:
        lines += [
            f'with headrace.stream("GET", "{request.target}", timeout=None) as response:',
            "    for line in response.iter_lines():",
            "        print(line)",
        ]
        return "\n".join(lines)
    given = f'"{request.target}"'
    if request.body is not None:
        name = "json" if request.media == JSON else "content"
        given = f"\n    {given},\n    {name}={_indented(_literal(request.body), 4)},\n"
        if request.media != JSON:
            given += f'    headers={{"Content-Type": "{request.media}"}},\n'
    lines.append(f"response = headrace.{request.method.lower()}({given})")
    lines.append("response.raise_for_status()")
    if request.has_response:
        lines.append("print(response.text)")
    return "\n".join(lines)


def _literal(value: Any) -> str:
    """A value as Python writes it, one member or item a line."""
    match value:
        case {}:
            lines = [
                f'    "{name}": {_indented(_literal(each), 4)},' for name, each in value.items()
            ]
            return "\n".join(("{", *lines, "}"))
        case [*items]:
            lines = [f"    {_indented(_literal(each), 4)}," for each in items]
            return "\n".join(("[", *lines, "]"))
        case str():
            return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _typescript(request: _Request) -> str:
    options = []
    if request.method != "GET":
        options.append(f'  method: "{request.method}",')
    headers = []
    if request.key is not None:
        headers.append(f"Authorization: `Bearer ${{process.env.{request.key}}}`")
    if request.body is not None:
        headers.append(f'"Content-Type": "{request.media}"')
    if headers:
        options.append(f"  headers: {{ {', '.join(headers)} }},")
    if request.body is not None:
        text = json.dumps(request.body, ensure_ascii=False, indent=2)
        shown = f"JSON.stringify({_indented(text, 2)})" if request.media == JSON else text
        options.append(f"  body: {shown},")
    given = ", {\n" + "\n".join(options) + "\n}" if options else ""
    lines = [
        f"const response = await fetch(`${{process.env.HEADRACE_URL}}{request.target}`{given});"
    ]
    if request.is_stream:
        lines += [
            "for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {",
            "  console.log(part);",
            "}",
        ]
        return "\n".join(lines)
    lines.append("if (!response.ok) throw new Error(await response.text());")
    if request.has_response:
        lines.append("console.log(await response.text());")
    return "\n".join(lines)


def _indented(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * width)
