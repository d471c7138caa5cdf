"""A verification and teaching kit for distributed fine-tuning of Gemma with Keras.

Importing ``kit`` imports no framework. :data:`PACKAGE_ORDER` says which packages may import which.
"""

__version__ = "0.1.0"

#: The packages and modules under ``kit``. Each imports only those before it, or itself.
#: ``tests/kit/test_imports.py`` holds all imports to this order, also those within functions.
PACKAGE_ORDER = (
    "errors",
    "installation",
    "files",
    "narrator",
    "formatting",
    "runtime",
    "data",
    "models",
    "parts",
    "reference",
    "evidence",
    "tpu",
    "lock",
    "checks",
    "pytest_plugin",
    "judge",
    "run",
    "course",
    "report",
    "doctor",
    "init",
    "bundle",
    "dev",
    "cli",
    "__main__",
)
