"""The exercise ``generation``: its data, lesson, stub and checks. Only ``kit.course`` imports it."""
