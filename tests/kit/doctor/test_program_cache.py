"""Programs in the place of others are found by the names that they carry."""

import os
from pathlib import Path

from command_line import run_python

from kit.doctor.program_cache import examine_program_cache

COMPILE = """
import jax, jax.numpy as jnp
def first(x): return x + 1
def second(x): return x * 3 - 1
for function in (first, second):
    jax.jit(function)(jnp.ones(4)).block_until_ready()
"""
EVERYTHING = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}


def test_the_cache_of_jax(tmp_path: Path) -> None:
    assert examine_program_cache(tmp_path / "nowhere").state == "good"
    settings = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    run_python(COMPILE, env=os.environ | EVERYTHING | settings)
    found = examine_program_cache(tmp_path)
    entries = sorted(tmp_path.glob("*-cache"))
    assert len(entries) >= 2
    assert (found.state, found.found) == ("good", f"{len(entries)} in {tmp_path}")
    first, second = (next(tmp_path.glob(f"jit_{name}-*-cache")) for name in ("first", "second"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content[:50])
    found = examine_program_cache(tmp_path)
    assert found.state == "broken"
    assert found.found.startswith(f"2 of {len(entries)} in {tmp_path} are damaged or in the place of others")
    assert found.remedy.startswith(f"delete {tmp_path}")
