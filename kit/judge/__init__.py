"""The judging engine: runs each check on a solution in its own processes, and returns verdicts.

``catalogue`` defines what an exercise and a check are; the engine is handed a catalogue and knows
no exercise. ``runner`` runs checks, ``server`` is the warm parent process that forks,
``two_processes`` observes a solution in one process and judges in another what crosses ``channel``,
and ``check_process`` is what happens in them. ``fresh_process`` is used where forking is not
possible, ``submission`` calls a learner's functions, ``observation`` has the plain data that a
check's ``observe`` returns to its ``judge``. ``mistakes`` recognises values that usual
mistakes give, ``crashes`` describes errors, ``properties`` tries generated data, and
``second_process`` calls a function where strings have other hashes. Imports ``checks`` (diagnosis
and codes), ``parts`` and ``runtime``; never ``course``.
"""
