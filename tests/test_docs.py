"""Documents lead where they say, and nothing in the repository depends on the machine it was written on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_OURS = {".git", ".venv", "out", "build", "dist", "node_modules", "__pycache__"}
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".js", ".html", ".css", ".svg", ".json", ".sh", ""}

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`|^ {4}.*$", re.MULTILINE | re.DOTALL)
# Folders of one machine, and the hosts of package registries: users have their own.
ELSEWHERE = re.compile(
    r"(?<![\w.])/(?:work|root|home|Users|opt/pypi)/|\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|deb\.debian\.org)"
)


def files() -> Iterator[Path]:
    for folder, inner, names in os.walk(ROOT):
        inner[:] = sorted(
            name
            for name in inner
            if name not in NOT_OURS
            and not name.endswith((".egg-info", "_cache"))
            and Path(folder, name) != ROOT / "training" / "work"
        )
        yield from (Path(folder, name) for name in sorted(names))


DOCUMENTS = [path for path in files() if path.suffix == ".md"]


def anchors(document: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for match in LINK.finditer(CODE.sub("", document.read_text())):
        target = match[1] or match[2]
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        found = document.parent / path if path else document
        assert found.exists(), f"{target} does not exist"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{target} has no such heading"


def test_there_is_a_readme_and_it_names_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert "make serve" in readme
    assert "make test" in readme


def test_no_file_names_somebodys_machine_or_registry():
    found = []
    for path in files():
        if path.suffix not in TEXT or path == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := ELSEWHERE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert found == []
