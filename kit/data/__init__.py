"""Reviews, films, and the corpus that the bundled model is trained on."""
