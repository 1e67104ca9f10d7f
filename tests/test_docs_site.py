"""The documentation's site holds every document, and no link of one is lost in it."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def conf() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "conf.py"))


def tracked(pattern: str) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split()]


def test_every_document_has_a_place_in_the_contents(conf: dict[str, Any]) -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([\w/]+)$", index, re.MULTILINE)) - {"vlsafe"}
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in tracked("docs/**.md")}
    copies = {str(Path(page).with_suffix("")) for page in conf["COPIES"].values()}
    assert listed == (pages | copies) - {"index"}


def test_what_is_copied_exists(conf: dict[str, Any]) -> None:
    assert conf["COPIES"]
    assert all((ROOT / source).is_file() for source in conf["COPIES"])


def test_links_lead_to_the_copies(conf: dict[str, Any]) -> None:
    led = conf["led_to_copies"]
    text = "[a](docs/scorers.md#frames) [b](CHANGELOG.md) [c](https://x.org/docs) [d](#here)"
    assert led(text, "CONTRIBUTING.md", "site/contributing.md") == (
        "[a](../scorers.md#frames) [b](changes.md) [c](https://x.org/docs) [d](#here)"
    )
    text = "[a](../wrappers/bundled_clip/README.md) [b](scorers.md) [c](../LICENSE)"
    assert led(text, "docs/environments.md", "environments.md") == (
        "[a](site/bundled_clip.md) [b](scorers.md) [c](../LICENSE)"
    )


def swallowed(text: str) -> list[str]:
    """Headings that stand within a block of code that nobody closed, and one still open."""
    inside, found = False, []
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        elif inside and line.startswith("## "):
            found.append(line)
    return found + ["the end of the document"] * inside


@pytest.mark.parametrize(
    "path", tracked("*.md"), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_every_block_of_code_is_closed(path: Path) -> None:
    assert swallowed(path.read_text(encoding="utf-8")) == []


def test_the_check_sees_an_open_block() -> None:
    assert swallowed("```bash\nls\n\n## Next\n```bash\n```") == [
        "## Next",
        "the end of the document",
    ]


def test_links_between_files_lead_to_files(conf: dict[str, Any]) -> None:
    lost = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in tracked("*.md")
        for target in conf["LINK"].findall(path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert lost == []


def anchors(path: Path) -> set[str]:
    """Of a document's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def test_links_into_documents_lead_to_headings() -> None:
    link = re.compile(r"\]\(([\w./-]*\.md)?#([\w-]+)\)")
    found = [
        (path, path.parent / target if target else path, anchor)
        for path in tracked("*.md")
        for target, anchor in link.findall(path.read_text(encoding="utf-8"))
    ]
    assert len(found) > 20
    assert [(path.name, anchor) for path, to, anchor in found if anchor not in anchors(to)] == []


def test_a_property_is_described_by_its_whole_sentence(conf: dict[str, Any]) -> None:
    """Napoleon makes a type of what stands before a colon, as here of "Settings"."""
    made = ["what they are.", "More.", "", ":type: Settings"]
    found = {what: [*made] for what in ("property", "method")}
    for what, lines in found.items():
        conf["whole_sentences"](None, what, "name", None, None, lines)
    assert found == {"property": ["Settings: what they are.", "More.", ""], "method": made}


class Page(HTMLParser):
    """What of a page a narrow or a dark screen, or a reader without pictures, would miss."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.boxes: list[bool] = []  # of each open div: whether it scrolls
        self.faults: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)
        self.faults += [f"no {tag}" for tag in ("title", "viewport") if tag not in self.seen]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.seen.add(given.get("name", "") if tag == "meta" else tag)
        if tag == "div":
            self.boxes.append("table-wrapper" in given.get("class", "").split())
        if tag == "table" and not any(self.boxes):
            self.faults.append(f"a table that cannot scroll, line {self.getpos()[0]}")
        if tag == "img" and not given.get("alt"):
            self.faults.append(f"a picture without words: {given.get('src', '')[:60]}")

    def handle_endtag(self, tag: str) -> None:
        if tag == "div":
            self.boxes.pop()


def test_the_check_of_pages_sees_faults() -> None:
    head = '<title>a</title><meta name="viewport" content="width=device-width">'
    table = '<div class="table-wrapper"><div></div><table></table></div>'
    assert Page(f'{head}{table}<img src="a.png" alt="A road">').faults == []
    assert Page("<div></div><table></table><img src='a.png'>").faults == [
        "a table that cannot scroll, line 1",
        "a picture without words: a.png",
        "no title",
        "no viewport",
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Without the notebooks' results, which `make docs` adds."""
    pytest.importorskip("sphinx", reason="needs the extra docs")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "docs", str(tmp_path)]
    environment = {**os.environ, "VLSAFE_DOCS_EXECUTE": "0"}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr[-3000:]
    listings = {"genindex.html", "py-modindex.html"}  # names in tables that wrap
    pages = [path for path in tmp_path.rglob("*.html") if "_modules" not in path.parts]
    pages = [path for path in pages if path.name not in listings]
    assert len(pages) > 30
    found = {path.name: Page(path.read_text(encoding="utf-8")).faults for path in pages}
    assert {name: faults for name, faults in found.items() if faults} == {}
    assert "_static/site.css" in (tmp_path / "index.html").read_text(encoding="utf-8")
    agents = (tmp_path / "api" / "agents.html").read_text(encoding="utf-8")
    assert "field-list" in agents
    assert not re.search(r'<dt class="field-\w+">Type<', agents)
