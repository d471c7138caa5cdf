"""The exercise ``training``: its data, lesson, stub and checks. Only ``kit.course`` imports it."""
