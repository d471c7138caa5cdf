"""The exercise ``multihost``: its data, lesson, stub and checks."""
