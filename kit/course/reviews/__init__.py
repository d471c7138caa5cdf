"""The exercise ``reviews``: its data, lesson, stub, checks. Only ``kit.course`` imports it."""
