"""MULTIHOST_WRONG_SETTINGS: the number of this process stands where their number belongs."""

from kit.reference.multihost import own_rows, rows_of_whole_batch, save_once, whole_value  # noqa: F401
from kit.reference.multihost import process_settings as right


def process_settings(environment):
    addresses, count, number = right(environment)
    return addresses, number, count
