"""The tutorial end to end: options, the pipeline of steps, the run folder, the recorder, the result and the export.

Imports ``parts``, ``evidence``, ``models``, ``data`` and ``runtime``; never ``judge``, ``course``
or ``report``.
"""
