"""What the pages of both reports share: one file, no script, nothing from a network. Imports no framework."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from kit import __version__
from kit.errors import UserError
from kit.files import write_text
from kit.narrator import as_bytes, as_count, as_share


def render_page(template: str, filters: Mapping[str, Callable[..., Any]], **content: Any) -> str:
    """A page as a text.

    Args:
        template: A file of this folder.
        filters: Beside those for bytes, counts and shares.
        **content: What the template takes, beside the kit's version.

    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        # What a model or a learner wrote, a path or a setting may hold HTML.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": as_bytes, "count": as_count, "share": as_share, **filters}
    page = environment.get_template(template).render(version=__version__, **content)
    # JSON may hold half of a character that takes two, which no file in UTF-8 can.
    return page.encode("utf-8", "replace").decode("utf-8")


def write_page(file: Path, page: str) -> None:
    """Write a page, over an earlier one.

    Raises:
        UserError: if it cannot be written. Then an earlier page is left as it was.

    """
    try:
        write_text(file, page)
    except OSError as error:
        raise UserError(f"{file}: it cannot be written ({error.strerror}).") from None
