"""The exercise ``generation``: its data, lesson, stub, checks. Only ``kit.course`` imports it."""
