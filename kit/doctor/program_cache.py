"""The cache of compiled programs: entries that are not what their names say. Imports no framework.

jax names an entry after its program and a checksum of what it was compiled from. It compares
neither when it reads an entry, so an entry in the place of another one crashes, or computes
something else.
"""

import zlib
from pathlib import Path

from kit.doctor.finding import Finding

#: Bytes of an entry in which the program's name is searched for first: it is near the beginning.
_BEGINNING = 16_384


def examine_program_cache(folder: Path) -> Finding:
    """Whether each entry has the program that its name says; two of one name may be swapped."""
    entries = sorted(folder.glob("*-cache")) if folder.is_dir() else []
    damaged = [entry.name for entry in entries if not _is_what_it_says(entry)]
    if damaged:
        found = (
            f"{len(damaged)} of {len(entries)} in {folder} are damaged or in the place of others, such as {damaged[0]}"
        )
        return Finding("compiled programs", "broken", found, f"delete {folder}; the kit compiles them again")
    return Finding("compiled programs", "good", f"{len(entries):,} in {folder}" if entries else f"none yet in {folder}")


def _is_what_it_says(entry: Path) -> bool:
    name = entry.name.rsplit("-", 2)[0].encode()
    try:
        packed = entry.read_bytes()
        if not packed.startswith(b"\x78"):
            return bool(packed)  # packed by another library than zlib: not looked into
        return name in zlib.decompressobj().decompress(packed, _BEGINNING) or name in zlib.decompress(packed)
    except FileNotFoundError:  # jax has just deleted it
        return True
    except (OSError, zlib.error):
        return False
