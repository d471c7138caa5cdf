"""Presets and their settings, models without weights, and the recipe of the bundled model."""
