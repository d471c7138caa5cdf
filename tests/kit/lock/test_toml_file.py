"""Locks as TOML."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_locks import RIGHT, compiled

from kit.errors import UserError
from kit.lock.content import Collectives, LockedRule
from kit.lock.toml_file import read_lock, write_lock


def test_what_is_written_is_read(tmp_path: Path) -> None:
    strange = LockedRule("a\\d+\"b' 漢\t", (None, "model"), 0, (), ("block_N",))
    lock = replace(RIGHT, rules=(*RIGHT.rules, strange), compiled=compiled(Collectives("", "all-gather", 1, 2)))
    file = tmp_path / "sharding.lock"
    for one in (RIGHT, lock, replace(lock, compiled=(replace(lock.compiled[0], collectives=None),))):
        file.write_text(write_lock(one), encoding="utf-8")
        assert read_lock(file) == one
        assert max(map(len, file.read_text().splitlines())) < 160


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "sharding.lock: there is no lock here; write it with `kit lock FILE.py:FUNCTION`."),
        ("format = ", "sharding.lock: this is not TOML"),
        ("format = 2", "sharding.lock: its format is 2, and this kit reads 1; write it again"),
        ("format = 1", "sharding.lock: KeyError 'mesh' in it; write it again with `kit lock"),
    ],
)
def test_another_file(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "sharding.lock").write_text(text)
    with pytest.raises(UserError) as raised:
        read_lock(tmp_path / "sharding.lock")
    assert message in str(raised.value)
