"""Run pytest as in a suite outside of the kit."""

import os
import subprocess
import sys
from pathlib import Path

#: What the kit's own command line has set for this process.
PREPARED = ("KERAS_BACKEND", "JAX_PLATFORMS", "XLA_FLAGS", "TF_CPP_MIN_LOG_LEVEL")


#: Programs of these suites are short: LLVM's optimization would take longer than they do.
QUICK = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}


def run_pytest(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as another project would, without what the kit has set in this process."""
    inherited = {key: value for key, value in os.environ.items() if key not in PREPARED and "PYTEST" not in key}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = inherited | environment
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
