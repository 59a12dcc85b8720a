# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep compiled code, translated templates and ZIP files of modules for the commands that the launcher starts.

Each task of Ansible has its own process, which translates its templates and builds the ZIP file of its module, in a
quarter of the processor time of a play. A kept file is named by a hash of everything that its content depends on. A
template that depends on more, such as a filter that returns the time, is not kept.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

FOLDER = Path(__file__).resolve().parents[1] / ".build" / "compiled" / str(sys.implementation.cache_tag)
# The settings by which Jinja reads a template.
READING = (
    *("block_start_string", "block_end_string", "variable_start_string", "variable_end_string"),
    *("comment_start_string", "comment_end_string", "line_statement_prefix", "line_comment_prefix"),
    *("trim_blocks", "lstrip_blocks", "newline_sequence", "keep_trailing_newline", "optimized", "autoescape"),
)


def digest(*facts: object) -> str:
    """A name for content that depends on these facts alone."""
    return hashlib.sha256("\n".join(map(str, facts)).encode(errors="surrogatepass")).hexdigest()


def write(file: Path, content: bytes) -> None:
    """Write a file atomically, if the folder may be written to."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}-{os.urandom(8).hex()}")
        new.write_bytes(content)
        new.replace(file)


def compile_once(source: str, filename: str, *options: Any, **others: Any) -> CodeType:
    """Compile as `compile` does, but each source of a file only once."""
    file = FOLDER / digest(filename, source)
    with suppress(OSError):
        code: CodeType = marshal.loads(file.read_bytes())
        return code
    code = compile(source, filename, *options, **others)
    write(file, marshal.dumps(code))
    return code


def state_of(collection: Path) -> str:
    """A name for this version of ansible-core with the present code of the collection."""
    from ansible import __file__ as core
    from ansible import __version__ as version
    from jinja2 import __version__ as of_jinja

    files = ((file, file.stat().st_mtime_ns) for file in sorted(collection.glob("plugins/**/*.py")))
    return digest(core, version, of_jinja, *files)


def keep_templates(state: str) -> None:
    """Let Jinja translate each template only once."""
    from jinja2 import Environment, environment

    environment.compile = compile_once  # type: ignore[attr-defined]
    translate = Environment.compile
    try:
        from ansible._internal._templating._jinja_bits import _TemplateCompileContext as Context
    except ImportError:  # an older ansible-core, which doubles backslashes before Jinja gets the template
        Context = None

    def translate_once(
        self: Environment,
        source: str | nodes.Template,
        name: str | None = None,
        filename: str | None = None,
        **how: Any,
    ) -> Any:
        if name or filename or how:
            return translate(self, source, name, filename, **how)
        reading = [type(self), *sorted(self.extensions), *(getattr(self, setting) for setting in READING)]
        doubles = Context and getattr(Context.current(optional=True), "escape_backslashes", None)
        file = FOLDER / digest(state, *reading, doubles, type(source), source)
        with suppress(OSError):
            return marshal.loads(file.read_bytes())
        is_kept = not is_computed(self._parse(source, None, None) if isinstance(source, str) else source)
        code = translate(self, source)
        if is_kept:
            write(file, marshal.dumps(code))
        return code

    Environment.compile = translate_once  # type: ignore[method-assign]


def is_computed(template: nodes.Template) -> bool:
    """Whether Jinja may call an Ansible plugin while it translates this; the plugin's result may change."""
    from jinja2 import nodes

    for node in template.find_all((nodes.Filter, nodes.Test)):
        with suppress(nodes.Impossible):
            node.as_const()
            return True
    return False


def modules_of(folder: str) -> Path:
    """The folder in a command's temporary folder where ansible-core looks for the ZIP files of modules."""
    return Path(folder, "ansiballz_cache")


def bring_modules(state: str, folder: str) -> None:
    """Let a command find the modules that other commands have built."""
    modules_of(folder).mkdir()
    for file in (FOLDER / state).glob("*"):
        (modules_of(folder) / file.name).symlink_to(file)


def keep_modules(state: str, folder: str, collection: str) -> None:
    """Keep the modules of ansible-core and of this collection that a command has built."""
    for file in modules_of(folder).glob("*"):
        is_whole = not file.is_symlink() and not file.name.endswith(("-part", ".lock"))
        if is_whole and file.name.startswith(("ansible.modules.", f"{collection}.")):
            write(FOLDER / state / file.name, file.read_bytes())
