"""The exercise ``checkpoint``: its data, lesson, stub, checks. Only ``kit.course`` imports it."""
