"""Downloads by other packages, whose progress bars become works of the kit's narrator.

The clients of Kaggle and Hugging Face draw bars with tqdm: wider than a terminal may be, with
thousands of characters in a pipe, and over the narrator's line.
"""

import io
from typing import Any

from kit.formatting import format_bytes
from kit.narrator import Narrator, Work

_narrator: Narrator = Narrator()


def show_downloads(narrator: Narrator) -> None:
    """From now on this narrator shows what is downloaded; until then nothing does."""
    global _narrator
    _narrator = narrator


class Download:
    """A download that the narrator shows, until it is closed."""

    def __init__(self, what: str, in_bytes: bool = True) -> None:
        """``what`` is the name of a file; ``in_bytes`` is whether bytes are counted."""
        self._showing = _narrator.working(f"downloading {what}".rstrip())
        self.work: Work | None = self._showing.__enter__()
        if in_bytes:
            self.work.as_text = format_bytes

    def count(self, done: float, total: float | None, detail: str = "") -> None:
        """Show how much is there, of how much if that is known, and what is counted."""
        if self.work is None:
            return
        if total:
            self.work.count(round(done), round(total), detail)
        elif done:
            self.work.now(f"{self.work.as_text(round(done))} so far")

    def close(self) -> None:
        """Show nothing any more."""
        if self.work is not None:
            self.work = None
            self._showing.__exit__(None, None, None)


def bar_class() -> type:
    """A class in place of tqdm that shows a :class:`Download`."""
    import tqdm

    class Bar(tqdm.tqdm):
        """Draws nothing itself."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            # Hugging Face's own class has a name, and clients may turn a bar off outside terminals.
            options.pop("name", None)
            in_bytes = str(options.get("unit", "")).startswith("B")
            self._download = Download(str(options.get("desc") or ""), in_bytes)
            super().__init__(*arguments, **{**options, "disable": False, "file": io.StringIO()})

        def display(self, *_: Any, **__: Any) -> None:
            """Show the count in place of a bar."""
            self._download.count(self.n, self.total)

        def close(self) -> None:
            """End the download's line."""
            self._download.close()
            super().close()

    return Bar
