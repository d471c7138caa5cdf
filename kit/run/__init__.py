"""The tutorial end to end: options, steps, run folder, recorder, result and export.

Imports ``parts``, ``evidence``, ``models``, ``data`` and ``runtime``; never ``judge``, ``course``
or ``report``.
"""
