"""The coordinates of a picture of a sharded matrix: which slice each device holds."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from kit.report.sharded_variables import Axes, Variable

#: In the picture's own coordinates, which the page scales: about CSS pixels on a phone.
WIDTH = 320.0
MATRIX_HEIGHT = 112.0
CELL_HEIGHT = 40.0
#: Number of colours; slices of the same colour have different letters.
COLOURS = 8
#: Height and width of a slice's letter, which is left out if it does not fit.
LETTER = 13.0
LETTER_WIDTH = 11.0
#: Width of a character of a device's name, which is left out if it does not fit.
CHARACTER = 6.4


@dataclass(frozen=True)
class Slice:
    """A slice of a variable, and the devices that hold it."""

    #: A to Z, then AA.
    letter: str
    #: 0 to 7.
    colour: int
    #: Start and stop of each dimension.
    bounds: tuple[tuple[int, int], ...]
    devices: tuple[str, ...]

    @property
    def as_index(self) -> str:
        """The slice as an index, such as ``[0:1, 0:16]``."""
        return "[" + ", ".join(f"{start}:{stop}" for start, stop in self.bounds) + "]"


@dataclass(frozen=True)
class Rectangle:
    """A slice of the matrix, or a device of the mesh."""

    x: float
    y: float
    width: float
    height: float
    colour: int
    #: The letter of the slice; "" if it does not fit. A device also has its name.
    letter: str
    #: The middle of the letter.
    middle: tuple[float, float]
    name: str = ""


@dataclass(frozen=True)
class ShardingPicture:
    """The picture of one variable: its slices, and below them the mesh."""

    path: str
    shape: tuple[int, ...]
    spec: tuple[Axes, ...]
    #: Number of slices in each dimension.
    parts: tuple[int, ...]
    #: Bytes that each device holds.
    nbytes_held: int
    nbytes: int
    slices: tuple[Slice, ...]
    matrix: tuple[Rectangle, ...]
    mesh: tuple[Rectangle, ...]
    #: Where the mesh begins, and where the picture ends.
    mesh_top: float
    height: float

    @property
    def split(self) -> tuple[tuple[int, int], ...]:
        """The dimensions that are split, and their numbers of slices."""
        return tuple((dimension, number) for dimension, number in enumerate(self.parts) if number > 1)

    @property
    def whole(self) -> bool:
        """Whether the variable is replicated."""
        return len(self.slices) == 1


def draw(variable: Variable, mesh: Mapping[str, int], devices: tuple[str, ...]) -> ShardingPicture:
    """Lay out the picture of one variable.

    ``mesh`` has the axes and their sizes, in their order; of ``devices`` the last axis varies
    fastest.
    """
    parts = tuple(math.prod(mesh[axis] for axis in axes) for axes in variable.spec)
    held_by: dict[tuple[int, ...], list[str]] = {index: [] for index in itertools.product(*map(range, parts))}
    places = list(itertools.product(*map(range, mesh.values())))
    held = [_index(variable.spec, mesh, dict(zip(mesh, place, strict=True))) for place in places]
    for index, device in zip(held, devices, strict=True):
        held_by[index].append(device)
    slices = {
        index: Slice(letters(number), number % COLOURS, _bounds(variable.shape, parts, index), tuple(holders))
        for number, (index, holders) in enumerate(held_by.items())
    }
    matrix = _matrix(variable.shape, parts, slices)
    bottom = max(piece.y + piece.height for piece in matrix)
    # Space for the words above the mesh.
    mesh_top = bottom + 34
    cells = _mesh(tuple(mesh.values()), [slices[index] for index in held], devices, mesh_top)
    described = (variable.path, variable.shape, variable.spec, parts)
    nbytes = (math.ceil(variable.nbytes / len(slices)), variable.nbytes)
    height = max(cell.y + cell.height for cell in cells) + 2
    return ShardingPicture(*described, *nbytes, tuple(slices.values()), matrix, cells, mesh_top, height)


def letters(number: int) -> str:
    """A to Z for 0 to 25, then AA, AB, like the columns of a spreadsheet."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def _index(spec: tuple[Axes, ...], mesh: Mapping[str, int], place: Mapping[str, int]) -> tuple[int, ...]:
    """The slice, for each dimension, that the device at this place of the mesh holds."""
    index = []
    for axes in spec:
        part = 0
        for axis in axes:
            part = part * mesh[axis] + place[axis]
        index.append(part)
    return tuple(index)


def _bounds(shape: tuple[int, ...], parts: tuple[int, ...], index: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    bounds = []
    for size, number, part in zip(shape, parts, index, strict=True):
        step = math.ceil(size / number)
        bounds.append((min(size, part * step), min(size, (part + 1) * step)))
    return tuple(bounds)


def _matrix(
    shape: tuple[int, ...], parts: tuple[int, ...], slices: Mapping[tuple[int, ...], Slice]
) -> tuple[Rectangle, ...]:
    """The slices. The last two dimensions run down and across; others are stacked like cards."""
    rows, columns = (*([1] * (2 - len(parts))), *parts)[-2:]
    cards = math.prod(parts[:-2])
    across = WIDTH if len(shape) < 2 else WIDTH * _share(shape[-1], shape[-2])
    down = 26.0 if len(shape) < 2 else MATRIX_HEIGHT * min(1.0, 0.25 + 0.75 * _share(shape[-2], shape[-1]))
    # A strip of each card, with its letter, is visible beside the card in front.
    shift = 0.0 if cards == 1 else min(LETTER_WIDTH + 4, 0.6 * WIDTH / (cards - 1))
    rise = 0.0 if cards == 1 else min(5.0, 0.4 * MATRIX_HEIGHT / (cards - 1))
    across = min(across, WIDTH - shift * (cards - 1) - 2)
    width, height = across / columns, down / rows
    pieces = []
    # From back to front, so that those in front cover the others.
    for number, part in reversed(list(enumerate(slices.values()))):
        card, cell = divmod(number, rows * columns)
        row, column = divmod(cell, columns)
        # The first card is in front, at the lower left.
        x = 1 + card * shift + column * width
        y = 1 + (cards - 1 - card) * rise + row * height
        visible = width if card == 0 else shift if column == columns - 1 else 0.0
        fits = len(part.letter) * LETTER_WIDTH <= visible and height >= LETTER
        middle = (x + width - visible / 2, y + height / 2)
        pieces.append(Rectangle(x, y, width, height, part.colour, part.letter if fits else "", middle))
    return tuple(pieces)


def _share(size: int, other: int) -> float:
    """The relative length of a side: a matrix of 1 to 16 is drawn flat, and not as a line."""
    return min(1.0, max(0.3, math.sqrt(size / other)))


def _mesh(sizes: tuple[int, ...], held: list[Slice], devices: tuple[str, ...], top: float) -> tuple[Rectangle, ...]:
    """A cell for each device: the last axis runs across, the others down."""
    columns = sizes[-1]
    width = (WIDTH - 2) / columns
    cells = []
    for number, (part, device) in enumerate(zip(held, devices, strict=True)):
        row, column = divmod(number, columns)
        name = next((text for text in (device, device.rpartition(":")[2]) if len(text) * CHARACTER <= width), "")
        letter = part.letter if len(part.letter) * LETTER_WIDTH <= width else ""
        x, y = 1 + column * width, top + row * CELL_HEIGHT
        middle = (x + width / 2, y + CELL_HEIGHT * (0.68 if name else 0.5))
        cells.append(Rectangle(x, y, width, CELL_HEIGHT, part.colour, letter, middle, name))
    return tuple(cells)
