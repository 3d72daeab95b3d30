"""The site's configuration: Sphinx with MyST and furo; `made.py` makes the pages that are made from tables.

Owns how docstrings are read: they are plain text with `code` in single backquotes, not reStructuredText. Must never
state a fact of the package. Run by `make docs`, with warnings as errors.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes

sys.path.insert(0, str(Path(__file__).parent))

import clusterbus
import made

project = "clusterbus"
author = "the clusterbus authors"
release = version = clusterbus.__version__
copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc"]
# Pages for those who work on the package itself; CONTRIBUTING.md and ARCHITECTURE.md name them.
exclude_patterns = ["rows.md", "peers.md", "package.md"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"clusterbus {release}"
html_copy_source = False
html_show_sphinx = False

# A name in single backquotes links to what it names, if that is on the site.
default_role = "py:obj"
# `type` in a docstring may be a field of any of several messages; it then links to none.
suppress_warnings = ["ref.python"]
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# What a class has from Python itself is not described again.
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "inherited-members": "object, int, str, tuple, Enum, IntEnum, IntFlag, Flag, BaseException, Exception, TypedDict",
}
python_use_unqualified_type_hints = True


def literal_blocks(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Makes an indented block after a line with a colon at its end a block of code."""
    for number, line in enumerate(lines[:-2]):
        follows = lines[number + 2]
        if line.endswith(":") and not lines[number + 1] and re.match(" {4}|with |async ", follows):
            lines[number] += ":"
            if not follows.startswith(" "):  # the whole docstring is indented as the code is
                for later in range(number + 2, len(lines)):
                    lines[later] = f"    {lines[later]}" if lines[later] else ""


def resolve(app: Any, _env: Any, node: Any, contents: nodes.Node) -> nodes.Node | None:
    """Links a name in the way that users write it, whatever module it stands in and whatever class it is said in."""
    if node.get("refdomain") != "py" or not isinstance(target := node.get("reftarget"), str):
        return None
    domain = app.env.domains.python_domain
    last = target.removesuffix("()").rpartition(".")[2]
    for name in (f"clusterbus.{target}", f"clusterbus.{last}", f"{node.get('py:class')}.{last}"):
        if entry := domain.objects.get(name):
            reference = nodes.reference("", "", internal=True)
            reference["refuri"] = app.builder.get_relative_uri(node["refdoc"], entry.docname) + "#" + entry.node_id
            reference += contents
            return reference
    return None


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", literal_blocks)
    app.connect("missing-reference", resolve)
    made.setup(app)
