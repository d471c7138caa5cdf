"""The programs that this process has compiled and still holds, whoever called ``jax.jit``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax


@dataclass(frozen=True)
class LoadedProgram:
    """A compiled program. Sizes are bytes on one device."""

    #: For example "jit_train_step".
    name: str
    #: Optimized HLO.
    text: str
    arguments: int
    results: int
    #: Results that reuse an argument's memory.
    aliased: int
    temporaries: int

    @property
    def nbytes(self) -> int:
        """Bytes that a device holds while the program runs."""
        return self.arguments + self.results - self.aliased + self.temporaries


@dataclass
class NewPrograms:
    """The programs that were compiled within :func:`programs_compiled`."""

    _found: list[Any] = field(default_factory=list)

    def with_most_arguments(self) -> LoadedProgram | None:
        """The program with the most bytes of arguments; None if nothing was compiled.

        A training step takes all variables, the optimizer's state and a batch, which is more than
        any other program of a training gets.
        """
        sizes = [(program.get_compiled_memory_stats(), program) for program in self._found]
        if not sizes:
            return None
        memory, program = max(sizes, key=lambda pair: pair[0].argument_size_in_bytes)
        (module,) = program.hlo_modules()
        return LoadedProgram(
            module.name,
            module.to_string(),
            memory.argument_size_in_bytes,
            memory.output_size_in_bytes,
            memory.alias_size_in_bytes,
            memory.temp_size_in_bytes,
        )


@contextmanager
def programs_compiled() -> Iterator[NewPrograms]:
    """Collect the programs that are compiled within this context and still loaded at its end."""
    client = jax.local_devices()[0].client
    # Python's objects for the programs: while they exist, no other gets one of their ids.
    before = client.live_executables()
    known = {id(program) for program in before}
    new = NewPrograms()
    yield new
    new._found += [program for program in client.live_executables() if id(program) not in known]
