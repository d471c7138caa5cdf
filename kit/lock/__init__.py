"""``sharding.lock``: what a layout map does to a model, kept to be compared with later.

- ``content``: what a lock has
- ``toml_file``: a lock as TOML
- ``measuring``: the lock of a model, without the compiler or with it
- ``differences``: what differs between two locks, as sentences
- ``checking``: a lock file compared with today's model

This package may import ``tpu``, ``evidence``, ``models`` and what comes before them.
"""
