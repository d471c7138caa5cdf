"""Pages in one file, without scripts, that need no network. Imports no framework."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from kit import __version__
from kit.errors import UserError
from kit.files import write_text
from kit.formatting import format_bytes, format_count, format_share


def render_page(template: str, filters: Mapping[str, Callable[..., Any]], **content: Any) -> str:
    """The text of a page from a template in this folder.

    ``filters`` are in addition to those for bytes, counts and shares, and ``content`` to the kit's
    version.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        # Completions, learners' modules, paths and settings may contain HTML.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": format_bytes, "count": format_count, "share": format_share, **filters}
    page = environment.get_template(template).render(version=__version__, **content)
    # JSON may contain half of a surrogate pair, which UTF-8 cannot encode.
    return page.encode("utf-8", "replace").decode("utf-8")


def write_page(file: Path, page: str) -> None:
    """Write a page. Raises UserError if it cannot; then an earlier page is unchanged."""
    try:
        write_text(file, page)
    except OSError as error:
        raise UserError(f"{file}: it cannot be written ({error.strerror}).") from None
