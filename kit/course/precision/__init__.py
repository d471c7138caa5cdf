"""The exercise ``precision``: its data, lesson, stub and checks. Only ``kit.course`` imports it."""
