"""The site's configuration: Sphinx with MyST and furo; `made.py` makes the pages that are made from tables.

Owns how docstrings are read: they are plain text with `code` in single backquotes, not reStructuredText. Must never
state a fact of the package. Run by `make docs`, with warnings as errors.
"""

from __future__ import annotations

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
autodoc_preserve_defaults = True
# Shown by name in a signature, not as a list of all they stand for.
autodoc_type_aliases = {name: f"clusterbus.{name}" for name in ("ClusterEvent", "Event")}
autodoc_typehints_format = "short"
# What a class has from Python itself is not described again.
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "inherited-members": "object, int, str, tuple, Enum, IntEnum, IntFlag, Flag, BaseException, Exception, TypedDict",
}
python_use_unqualified_type_hints = True


def literal_blocks(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Makes each indented block a block of code."""
    marked: list[str] = []
    for line in lines:
        if line.startswith("    ") and len(marked) > 1 and not marked[-1] and not marked[-2].startswith(" "):
            marked += ["::", ""]
        marked.append(line)
    lines[:] = marked


def skip(_app: Any, _what: str, name: str, _object: Any, _skips: bool, _options: Any) -> bool | None:
    """Leaves out how the bus fills a stream: that is not for users."""
    return True if name in ("put_nowait", "put_always_nowait") else None


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
    app.connect("autodoc-skip-member", skip)
    app.connect("missing-reference", resolve)
    made.setup(app)
