"""Keras' environment variables for several processes."""

import pytest

from kit.errors import UserError
from kit.runtime.processes import Processes, processes_of_environment


def test_nothing_set_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"):
        monkeypatch.delenv(f"KERAS_DISTRIBUTION_{name}", raising=False)
    assert processes_of_environment() == Processes(1, 0)


@pytest.mark.parametrize(
    ("addresses", "count", "number", "message"),
    [
        ("", "2", "0", "KERAS_DISTRIBUTION_JOB_ADDRESSES is not set"),
        ("host:1", "two", "0", "both are whole numbers"),
        (
            "host:1",
            "2",
            "2",
            "KERAS_DISTRIBUTION_PROCESS_ID=2: with KERAS_DISTRIBUTION_NUM_PROCESSES=2 it is from 0 to 1",
        ),
        ("a:1,b:1,c:1", "2", "0", "has 3 addresses, and KERAS_DISTRIBUTION_NUM_PROCESSES is 2"),
        ("host", "2", "0", "an address is host:port"),
    ],
)
def test_an_environment_that_makes_no_sense(
    addresses: str, count: str, number: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("JOB_ADDRESSES", addresses), ("NUM_PROCESSES", count), ("PROCESS_ID", number)):
        monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)
    with pytest.raises(UserError, match=message):
        processes_of_environment()
