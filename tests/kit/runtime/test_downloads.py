"""Downloads by other packages, shown by the kit's narrator."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kit.formatting import format_bytes
from kit.narrator import Narrator, Work
from kit.runtime.downloads import Download, bar_class, show_downloads


class Listener(Narrator):
    """Keeps the works, and those that have ended."""

    def __init__(self) -> None:
        super().__init__()
        self.works: list[Work] = []
        self.ended: list[str] = []

    @contextlib.contextmanager
    def working(self, what: str, detail: str | Callable[[], str] = "") -> Iterator[Work]:
        self.works.append(Work(what, detail))
        yield self.works[-1]
        self.ended.append(what)


@pytest.fixture
def listener() -> Iterator[Listener]:
    show_downloads(listener := Listener())
    yield listener
    show_downloads(Narrator())


def test_a_bar_becomes_a_work(listener: Listener, capsys: pytest.CaptureFixture) -> None:
    # As Kaggle's client and Hugging Face's make their bars.
    bar: Any = bar_class()
    with bar(
        total=5_000_000, initial=1_000_000, unit="B", unit_scale=True, desc="weights", name="hub", disable=None
    ) as one:
        one.update(1_500_000)
        one.refresh()
    (work,) = listener.works
    assert (work.what, work.done, work.total) == ("downloading weights", 2_500_000, 5_000_000)
    assert work.as_text is format_bytes
    assert listener.ended == ["downloading weights"]
    # A client may close a bar twice, and update one that is closed.
    one.close()
    one.update(1)
    one.refresh()
    assert work.done == 2_500_000
    assert capsys.readouterr() == ("", "")


def test_a_download_of_unknown_size(listener: Listener) -> None:
    download = Download("reviews")
    download.count(2_500_000, None)
    assert (listener.works[0].detail, listener.works[0].total) == ("2.5 MB so far", 0)
    download.close()
    download.close()
    assert listener.ended == ["downloading reviews"]
