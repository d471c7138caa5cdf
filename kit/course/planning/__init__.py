"""The exercise ``planning``: its data, lesson, stub and checks."""
