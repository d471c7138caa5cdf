"""The exercise ``planning``: its data, lesson, stub and checks. Nothing outside ``kit.course`` imports from here."""
