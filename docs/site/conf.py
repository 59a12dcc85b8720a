# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx builds the documentation site with this (`make docs`).

The pages are the Markdown files of the repository at their own places, so that their links lead somewhere on a git host
and here. The front page is index.md of this folder, and the sections of docs/README.md are the groups of pages.
antsibull-docs has written the reference next to them. Each section of docs/playbooks.md becomes a page of the
reference. Each page also exists as Markdown, and llms.txt lists them.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.addnodes import pending_xref, toctree
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx_design.shared import PassthroughTextElement

SOURCE = Path(__file__).parents[2]
GALAXY = yaml.safe_load((SOURCE / "galaxy.yml").read_text())
NAME = f"{GALAXY['namespace']}.{GALAXY['name']}"

project = NAME
release = version = GALAXY["version"]
copyright = GALAXY["authors"][0]
# A link to the repository's pages leads to the page of the site.
PAGES = f"{GALAXY['repository']}/blob/main/"
# The roles and playbooks use these; users do not.
INTERNALS = ("decide module", "plan lookup")
REFERENCE = ("Modules and plugins", "reference/index")
# Where Ansible's own documentation has what the generated reference refers to.
ANSIBLE = "https://docs.ansible.com/ansible/latest"
CONFIG = f"{ANSIBLE}/reference_appendices/config.html"
LABELS = {
    "action_plugins": f"{ANSIBLE}/plugins/action.html",
    "common_return_values": f"{ANSIBLE}/reference_appendices/common_return_values.html",
    "ansible_configuration_settings": CONFIG,
}

extensions = ["myst_parser", "sphinx_antsibull_ext", "sphinx_copybutton", "sphinx_design", "sphinx_markdown_builder"]
include_patterns = ["*.md", "docs/*.md", "roles/*/README.md", "reference/*.rst"]
root_doc = "index"
exclude_patterns = ["docs/README.md"]
myst_enable_extensions = ["colon_fence"]
# What is copied runs: no prompt, and nothing that a command prints.
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
# The anchor of a heading is what a git host makes of it, so links to it work there and here.
myst_heading_anchors = 3
nitpicky = True
pygments_style = "ansible"
html_theme = "furo"
html_title = f"{NAME} {version}"
html_show_sphinx = False
html_copy_source = False
html_domain_indices = False
html_use_index = False
html_favicon = "icon.svg"
html_static_path = ["site.css"]
html_css_files = ["site.css"]


def write_front_page(app: Sphinx, config: Config) -> None:
    """Put the groups of docs/README.md behind the front page; the theme shows them at the side."""
    _title, *groups = re.split(r"^## (.+)\n", (SOURCE / "docs" / "README.md").read_text(), flags=re.MULTILINE)
    lines = [(SOURCE / "docs" / "site" / "index.md").read_text()]
    for caption, links in zip(groups[::2], groups[1::2], strict=True):
        entries = re.findall(r"^- (?:\[(.+?)\]\((.+?)\.md\)|.*`ansible-doc)", links, re.MULTILINE)
        pages = [(title, os.path.normpath(f"docs/{page}")) if page else REFERENCE for title, page in entries]
        tree = [f"{title.replace('`', '')} <{page}>" for title, page in pages]
        lines += ["", "```{toctree}", ":hidden:", ":maxdepth: 1", f":caption: {caption}", "", *tree, "```"]
    (SOURCE / "index.md").write_text("\n".join([*lines, ""]))


def split_playbooks(app: Sphinx, config: Config) -> None:
    """Give each playbook of docs/playbooks.md a page next to it, and leave a list of them there."""
    page = SOURCE / "docs" / "playbooks.md"
    if "```{toctree}" in page.read_text():  # an earlier build of the same copy
        return
    introduction, *sections = re.split(r"^## `(\w+)`\n+", page.read_text(), flags=re.MULTILINE)
    rows, names = ["| playbook | what it does |", "|---|---|"], sections[::2]
    for name, section in zip(names, sections[1::2], strict=True):
        summary = " ".join(section.split()).partition(". ")[0]
        rows.append(f"| [{name}](playbook-{name}.md) | {summary} |")
        usage = "The examples of [the playbooks](playbooks.md) share an inventory.\n"
        text = f"# {name} playbook\n\n{section}\n{usage}"
        page.with_name(f"playbook-{name}.md").write_text(text)
    tree = ["```{toctree}", ":hidden:", *(f"{name} playbook <playbook-{name}>" for name in names), "```"]
    page.write_text("\n".join([introduction, *rows, "", *tree, ""]))


def stay_here(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make links to the repository's pages, which README files need for Galaxy, links within the site.

    A picture is shown by the theme's switch, where a git host asks the browser whether it is dark.
    """
    up = "../" * docname.count("/")
    text = source[0].replace(PAGES, up).replace(f"{GALAXY['documentation']})", f"{up}index.md)")
    source[0] = re.sub(r"playbooks\.md#(\w+)", r"playbook-\1.md", text)

    def both(found: re.Match[str]) -> str:
        alt = f'alt="{found["alt"]}" src="{up}docs/pictures/{found["name"]}'
        themes = "".join(f'<img class="only-{theme}" {alt}-{theme}.svg">' for theme in ("light", "dark"))
        return f'<div class="picture {found["name"]}">{themes}</div>'

    picture = r'<picture>.*?<img alt="(?P<alt>[^"]*)" src="[^"]*?pictures/(?P<name>\w+)-light\.svg">\s*</picture>'
    source[0] = re.sub(picture, both, source[0], flags=re.DOTALL)


def copy_pictures(app: Sphinx, exception: Exception | None) -> None:
    """Put the pictures where the pages look for them."""
    shutil.copytree(SOURCE / "docs" / "pictures", Path(app.outdir, "docs", "pictures"), dirs_exist_ok=True)


def link_markdown(app: Sphinx, pagename: str, _template: str, context: dict[str, str], doctree: object) -> None:
    """Tell programs where a page is as Markdown."""
    if doctree:
        name = pagename.rpartition("/")[2]
        context["metatags"] += f'<link rel="alternate" type="text/markdown" href="{name}.md">'


def leave_out_layout(app: Sphinx, doctree: nodes.document, _docname: str) -> None:
    """Leave only text in a page as Markdown: no HTML, no LaTeX, no comments. A picture is what its text says."""
    if app.builder.name != "markdown":
        return
    layout = (nodes.raw, nodes.comment, nodes.meta, PassthroughTextElement)
    for node in [node for node in doctree.findall() if isinstance(node, layout)]:
        picture = re.search('alt="([^"]+)"', node.astext())
        left = [nodes.paragraph("", f"Picture: {picture[1]}")] if picture else []
        left = [nodes.paragraph("", "", *node.children)] if isinstance(node, PassthroughTextElement) else left
        node.parent.replace(node, left)


def tidy_table(line: str) -> str:
    """A line of a page as Markdown; of a table without its padding and anchors."""
    if not line.startswith("|"):
        return line
    line = re.sub(r'<a id="[^"]*"></a>(<br/>)*', "", line)
    return re.sub("-{4,}", "---", re.sub(" {2,}", " ", line))


def finish_markdown(app: Sphinx, exception: Exception | None) -> None:
    """Tidy the tables of the pages as Markdown, and list the pages in llms.txt, as llmstxt.org describes."""
    if app.builder.name != "markdown":
        return
    for page in Path(app.outdir).rglob("*.md"):
        text = "\n".join(map(tidy_table, page.read_text().splitlines())) + "\n"
        # The names of options: links within the reference's pages lead to anchors that are left out.
        page.write_text(re.sub(r"`?(\*\*)?\[([^]]+)\]\(#ansible-collections-[^)]*\)(\*\*)?`?", r"`\2`", text))
    titles = {page: title.astext() for page, title in app.env.titles.items()}
    lines = [f"# {NAME}", "", f"> {GALAXY['description']}"]
    for tree in app.env.get_doctree("index").findall(toctree):
        lines += ["", f"## {tree['caption']}", ""]
        for title, page in tree["entries"]:
            lines += [f"- [{title}]({page}.md)"]
            lines += [f"- [{titles[part]}]({part}.md)" for part in app.env.toctree_includes.get(page, [])]
    Path(app.outdir, "llms.txt").write_text("\n".join(lines) + "\n")


def set_internals_apart(doctree: nodes.document) -> None:
    """Move what only the roles and playbooks use to the end of the reference's list."""
    items = [item for item in doctree.findall(nodes.list_item) if item.astext().startswith(INTERNALS)]
    if not items:
        return
    section = nodes.section("", nodes.title("", "Internal"), ids=["internal"], names=["internal"])
    section += nodes.paragraph("", "The roles and playbooks use these. Do not use them yourself.")
    section += nodes.bullet_list("", *(item.deepcopy() for item in items))
    for item in items:
        item.parent.remove(item)
    next(doctree.findall(nodes.section)).append(section)


def trim_reference(app: Sphinx, doctree: nodes.document) -> None:
    """Let the theme make the tables of contents, and call the pages of the reference by their short names."""
    if not app.env.docname.startswith("reference/"):
        return
    for contents in [topic for topic in doctree.findall(nodes.topic) if "contents" in topic["classes"]]:
        contents.parent.remove(contents)
    for title in doctree.findall(nodes.title):
        title.attributes.pop("refid", None)  # it would lead to its line of the contents
        if title.astext().lower() == NAME:  # antsibull-docs begins each word with a capital
            title.children = [nodes.Text(NAME)]
    for tree in doctree.findall(toctree):
        names = {page: " ".join(page.rpartition("/")[2].rsplit("_", 1)) for _title, page in tree["entries"]}
        entries = [(f"{name} (internal)" if name in INTERNALS else name, page) for page, name in names.items()]
        tree["entries"] = sorted(entries, key=lambda entry: "(internal)" in entry[0])
    set_internals_apart(doctree)


def link_plugins(app: Sphinx, doctree: nodes.document) -> None:
    """Lead from the full name of a module, plugin or role in a guide to its reference page."""
    if app.env.docname.startswith("reference/"):
        return
    for literal in list(doctree.findall(nodes.literal)):
        name = re.fullmatch(rf"{re.escape(NAME)}\.([a-z_]+)", literal.astext())
        pages = sorted((SOURCE / "reference").glob(f"{name[1]}_*.rst")) if name else []
        pages = [page for page in pages if name and page.stem.rpartition("_")[0] == name[1]]
        if pages:
            label = f"ansible_collections.{NAME}.{pages[0].stem}"
            link = pending_xref("", refdomain="std", reftype="ref", reftarget=label, refexplicit=True, refwarn=True)
            literal.replace_self(link)
            link += literal


def link_ansible(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element) -> nodes.Element | None:
    """Lead to Ansible's own documentation. Without a network, Sphinx cannot look up its pages."""
    page = LABELS.get(node["reftarget"])
    if node["reftype"] == "envvar" and node["reftarget"].startswith("ANSIBLE_"):
        page = f"{CONFIG}#envvar-{node['reftarget']}"
    return nodes.reference("", "", text, internal=False, refuri=page) if page else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("config-inited", write_front_page)
    app.connect("config-inited", split_playbooks)
    app.connect("source-read", stay_here)
    app.connect("doctree-read", trim_reference, priority=400)  # before Sphinx gathers the tables of contents
    app.connect("doctree-read", link_plugins)
    app.connect("missing-reference", link_ansible)
    app.connect("html-page-context", link_markdown)
    app.connect("doctree-resolved", leave_out_layout)
    app.connect("build-finished", copy_pictures)
    app.connect("build-finished", finish_markdown)
