"""What a lock has. Sizes are bytes. Imports no framework."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

#: For each dimension of a variable a mesh axis or None.
Spec = tuple[str | None, ...]


@dataclass(frozen=True)
class Variables:
    """Variables of one kind that one rule matches, or none."""

    #: The path with N for the numbers of repeated layers.
    path: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    #: Bytes of all of them on one device, without and with the optimizer's moments.
    nbytes_per_device: int
    state_nbytes_per_device: int


@dataclass(frozen=True)
class LockedRule:
    """A rule of the layout map, and what it matches."""

    pattern: str
    spec: Spec
    #: Bytes of the variables that it matches, each counted once.
    nbytes: int
    variables: tuple[Variables, ...]
    #: Kinds of layers whose outputs it shards.
    outputs: tuple[str, ...] = ()

    @property
    def matches(self) -> int:
        """The number of variables that it matches."""
        return sum(one.count for one in self.variables)


@dataclass(frozen=True)
class Collectives:
    """Collectives of one kind in one kind of layer, per step."""

    #: The kind of layer, or "" if they could not be traced.
    layer: str
    #: XLA's name, such as "all-gather".
    kind: str
    count: int
    #: Bytes of their results on one device.
    nbytes: int


@dataclass(frozen=True)
class Compiled:
    """What the compiler says about the whole step on one topology."""

    topology: str
    fits: bool
    #: Bytes on one device: the peak, and of it the arguments.
    peak: int
    arguments: int
    usable: int
    #: None if the compiler made no program, because the step does not fit.
    collectives: tuple[Collectives, ...] | None


@dataclass(frozen=True)
class Source:
    """How the model, its layout map and its batch are made, as on the command line."""

    model: str
    batch: str
    #: "" if the model's function sets a distribution.
    layout: str = ""
    #: Such as "1x8"; "" if the functions decide it.
    mesh: str = ""


@dataclass(frozen=True)
class Lock:
    """A model with its layout map, and what the map does."""

    source: Source
    versions: Mapping[str, str]
    #: The mesh's axes and their sizes, in the order of the devices.
    axes: Mapping[str, int]
    batch_axis: str
    parameters: int
    trainable: int
    rules: tuple[LockedRule, ...]
    #: Variables that no rule matches.
    unmatched: tuple[Variables, ...]
    compiled: tuple[Compiled, ...] = ()

    @property
    def devices(self) -> int:
        """The number of devices of the mesh."""
        count = 1
        for size in self.axes.values():
            count *= size
        return count

    @property
    def state_nbytes_per_device(self) -> int:
        """Bytes of weights and optimizer state on one device."""
        everything = [one for rule in self.rules for one in rule.variables]
        return sum(one.state_nbytes_per_device for one in (*everything, *self.unmatched))

    def without_program(self) -> "Lock":
        """The lock without what the compiler said."""
        return replace(self, compiled=())
