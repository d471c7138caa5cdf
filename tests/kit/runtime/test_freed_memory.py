"""Memory that glibc keeps for the next step."""

import platform
import subprocess
import sys

import pytest

#: Page faults of ten steps with temporary arrays of 64 MB, after the first ones.
STEPS = """
import resource
from kit.runtime.platform import start
start("cpu", {devices})
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.linalg.norm(jnp.sin(x @ x.T) @ x))
x = jnp.ones((4096, 16))
for _ in range(20): float(step(x))
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): float(step(x))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_one_device_reuses_the_memory_of_the_last_step() -> None:
    """Two devices, where it is not set, show that the steps need such memory."""
    faults = {}
    for devices in (1, 2):
        code = STEPS.format(devices=devices)
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        faults[devices] = int(ran.stdout)
    assert faults[2] > 10 * 4096 * 4096 * 4 / 4096
    # Some steps need a new page where XLA's threads allocate in another order.
    assert faults[1] < faults[2] / 2
