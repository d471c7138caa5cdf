"""The commands; the module of each is imported when it is called, so that `kit --help` is quick."""
