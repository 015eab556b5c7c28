"""Renews octokit-webhooks-examples.jsonl.zst from its npm package: `make examples`.

1. npm downloads the version pinned below; nothing of it is run.
2. Each `index.json` in it is cut at the examples' own boundaries, so that every payload keeps its
   bytes: white space, escapes and the form of its numbers.
3. Payloads that several GitHub editions share are kept once, and one compressed line is written
   for each: `{"name", "action" where there is one, "payload": the text}`.
"""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from headrace.http.server.zstandard import zstd
from tests.data.octokit_examples import DATA, read_examples

PACKAGE = "@octokit/webhooks-examples"
VERSION = "7.6.1"

Row = dict[str, str]


def main() -> None:
    rows = unique(row for text in index_files(download()) for row in rows_of(text))
    lines = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    DATA.write_bytes(zstd.compress(lines, level=22))
    sizes = [len(example.payload) for example in read_examples()]
    compact = [len(example.payload_on_one_line) for example in read_examples()]
    print(
        f"{PACKAGE} {VERSION}: {len(sizes)} payloads, {DATA.stat().st_size:,} bytes in {DATA.name}"
    )
    print(f"as they are:  {sum(sizes):,} bytes, the largest {max(sizes):,}")
    print(f"on one line:  {sum(compact):,} bytes, the largest {max(compact):,}")


def download() -> bytes:
    """Returns the package's tar file."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is missing: install it with your system's package manager")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--ignore-scripts", "--pack-destination", folder]
        subprocess.run([*command, f"{PACKAGE}@{VERSION}"], check=True, capture_output=True)
        (archive,) = Path(folder).iterdir()
        return archive.read_bytes()


def index_files(archive: bytes) -> Iterator[str]:
    """Yields the text of each edition's index, github.com first."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            if PurePosixPath(member.name).name == "index.json":
                file = tar.extractfile(member)
                assert file is not None, f"{member.name} is no file"
                yield file.read().decode()


def rows_of(index: str) -> Iterator[Row]:
    """Cuts one index into rows, each payload exactly as it stands there."""
    for definition in elements(index):
        name = json.loads(definition)["name"]
        for payload in elements(definition, definition.index('"examples": [')):
            action = json.loads(payload).get("action")
            yield {"name": name} | ({"action": action} if action else {}) | {"payload": payload}


def elements(text: str, start: int = 0) -> Iterator[str]:
    """Yields the text of each object in the first array of `text` at or after `start`."""
    decoder = json.JSONDecoder()
    position = text.index("[", start) + 1
    while True:
        while text[position] in " \r\n\t,":
            position += 1
        if text[position] == "]":
            return
        _, end = decoder.raw_decode(text, position)
        yield text[position:end]
        position = end


def unique(rows: Iterator[Row]) -> list[Row]:
    """Drops repeated rows; two that differ in white space alone are the same payload twice."""
    seen: dict[tuple[str, str], Row] = {}
    for row in rows:
        content = json.dumps(json.loads(row["payload"]), sort_keys=True)
        seen.setdefault((row["name"], content), row)
    return list(seen.values())


if __name__ == "__main__":
    main()
