"""The exercises, solved: the default parts of ``kit run`` and the one source of the stubs."""
