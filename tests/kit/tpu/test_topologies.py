"""What the name of a TPU slice counts, and the page that says so."""

from pathlib import Path

import pytest
from command_line import kit

from kit.errors import UserError
from kit.tpu.topologies import DEFAULT_TOPOLOGY, TOPOLOGIES, find_topology, table_of_names

PAGE = Path(__file__).parents[3] / "docs" / "topologies.md"


@pytest.mark.parametrize(
    ("name", "devices", "chips", "cores", "hosts"),
    [
        ("v5e-1", 1, 1, 1, 1),
        ("v5e-8", 8, 8, 8, 1),
        ("v6e-16", 16, 16, 16, 4),
        ("v5p-8", 4, 4, 8, 1),
        ("tpu7x-8", 8, 4, 8, 1),
        ("v3-8", 8, 4, 8, 1),
    ],
)
def test_what_a_name_means(name: str, devices: int, chips: int, cores: int, hosts: int) -> None:
    topology = find_topology(name)
    assert (topology.devices, topology.chips, topology.cores, topology.hosts) == (devices, chips, cores, hosts)


def test_the_number_in_a_name_counts_devices_or_cores() -> None:
    for topology in TOPOLOGIES.values():
        assert int(topology.name.rpartition("-")[2]) in (topology.devices, topology.cores)
        assert topology.cores % topology.devices == 0


def test_the_page_has_the_table_that_the_command_prints() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| name | chips | cores | JAX devices | hosts | the number counts | where |")
    found = [tuple(cell.strip(" `") for cell in line.strip("|").split("|")) for line in lines[start + 2 :]]
    rows = table_of_names()
    assert found[: len(rows)] == rows
    assert lines[start + 2 + len(rows)] == ""
    printed = kit("plan", "--topologies", cwd=Path.cwd())
    assert printed.returncode == 0, printed.stderr
    for row in rows:
        assert " ".join(row).strip() in " ".join(printed.stdout.split())


def test_the_default_is_what_one_can_have_today() -> None:
    assert not find_topology(DEFAULT_TOPOLOGY).retired
    assert [name for name, topology in TOPOLOGIES.items() if topology.retired] == ["v2-8", "v3-8"]


def test_an_unknown_name_is_one_sentence() -> None:
    with pytest.raises(UserError, match="--topology v9-8: choose one of v5e-1, v5e-4, v5e-8, v5e-16, v6e-1, v6e-8"):
        find_topology("v9-8")
