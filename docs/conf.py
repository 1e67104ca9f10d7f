"""Settings of the documentation's site: `make docs` builds it with Sphinx.

The pages are the same Markdown files that GitHub shows; the API's pages come from docstrings, and
the notebooks in ``examples/`` are executed.  A warning is an error.
"""

from __future__ import annotations

import os
import re
import socket
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent

project = "vlsafe"
author = "The vlsafe authors"
copyright = "2026, the vlsafe authors"
release = version_of("vlsafe")
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]

# Documents that stand elsewhere in the repository, and the copies that Sphinx reads.
COPIES = {
    "CHANGELOG.md": "site/changes.md",
    "CONTRIBUTING.md": "site/contributing.md",
    "wrappers/bundled_clip/README.md": "site/bundled_clip.md",
    "wrappers/bundled_distilled/README.md": "site/bundled_distilled.md",
    **{
        card.relative_to(ROOT).as_posix(): f"site/driver_{card.parent.name.replace('-', '_')}.md"
        for card in sorted((ROOT / "vlsafe_agents/pretrained/models").glob("*/README.md"))
    },
    **{
        f"examples/{path.name}": f"tutorials/{path.name}"
        for path in sorted((ROOT / "examples").glob("*.ipynb"))
    },
}

exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_title = f"vlsafe {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off" if os.environ.get("VLSAFE_DOCS_EXECUTE") == "0" else "cache"
nb_execution_in_temp = True  # what they write is not a page
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # notices and paths of the machine that builds the site
nb_render_text_lexer = "none"  # tables of the terminal are no language

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True

OTHERS = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "gymnasium": "https://gymnasium.farama.org/",
    "stable_baselines3": "https://stable-baselines3.readthedocs.io/en/master/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}


def reachable(url: str) -> bool:
    """Whether a site answers; names in other packages' documentation stay without links if not."""
    try:
        socket.create_connection((url.split("/")[2], 443), timeout=3).close()
    except OSError:
        return False
    return True


def link_to_others(app: Any, config: Any) -> None:
    """Links to other packages' documentation, where their sites can be reached."""
    config.intersphinx_mapping = {k: (url, None) for k, url in OTHERS.items() if reachable(url)}


ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x1b\x07]*(\x07|\x1b\\\\))")
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]+)")  # of a file, not of the net


def led_to_copies(text: str, source: str, page: str) -> str:
    """A document's text whose links lead to where its page and the others' stand.

    Args:
        text: Markdown.
        source: where in the repository it was written.
        page: where in ``docs`` Sphinx reads it.
    """

    def led(match: re.Match[str]) -> str:
        target = os.path.normpath(Path(source).parent / match[1])
        place = f"docs/{COPIES[target]}" if target in COPIES else target
        return f"]({os.path.relpath(place, Path('docs', page).parent)}"

    return LINK.sub(led, text)


def copy_documents(app: Any) -> None:
    """Puts what stands elsewhere where Sphinx reads it; unchanged files keep their time."""
    for source, page in COPIES.items():
        text = led_to_copies((ROOT / source).read_text(encoding="utf-8"), source, page)
        copy = HERE / page
        copy.parent.mkdir(exist_ok=True)
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")


def lead(app: Any, docname: str, text: list[str]) -> None:
    """Has links of a document in ``docs`` lead to the copies."""
    page = f"{docname}.md"
    if page not in COPIES.values() and (HERE / page).exists():
        text[0] = led_to_copies(text[0], f"docs/{page}", page)


def without_colours(app: Any, document: Any) -> None:
    """What commands print in notebooks comes with the terminal's codes, also for links."""
    from docutils import nodes

    for block in document.findall(nodes.literal_block):
        text = ESCAPE.sub("", block.astext())
        if text != block.astext():
            block.rawsource = text
            block.children = [nodes.Text(text)]


def whole_sentences(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Puts back what napoleon takes for a property's type: its sentence up to a colon."""
    given = [line for line in lines if line.startswith(":type: ")]
    if given and what in ("attribute", "data", "property"):
        lines.remove(given[0])
        lines[0] = f"{given[0].removeprefix(':type: ')}: {lines[0]}"


def setup(app: Any) -> None:
    """Registers the hooks above."""
    app.connect("autodoc-process-docstring", whole_sentences, priority=600)  # after napoleon
    app.connect("config-inited", link_to_others, priority=1)
    app.connect("builder-inited", copy_documents)
    app.connect("source-read", lead)
    app.connect("doctree-read", without_colours)
