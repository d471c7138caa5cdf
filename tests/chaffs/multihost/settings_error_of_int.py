"""MULTIHOST_ERROR_WITHOUT_NAME: what int says of a word is a ValueError, and does not say where the word stood."""

from kit.reference.multihost import own_rows, rows_of_whole_batch, save_once, whole_value  # noqa: F401

NAMES = ("KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID")


def process_settings(environment):
    for name in NAMES:
        if not environment.get(name):
            raise ValueError(f"{name} is missing.")
    count, number = int(environment[NAMES[1]]), int(environment[NAMES[2]])
    if not 0 <= number < count:
        raise ValueError(f"{NAMES[2]}={number} of {count}.")
    return environment[NAMES[0]], count, number
