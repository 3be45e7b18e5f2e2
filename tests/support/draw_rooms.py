"""Draw the rooms of the pack and who imports whom, from the imports themselves.

    python tests/support/draw_rooms.py      writes docs/rooms.svg

A room stands above every room that it imports. Lines to the same room have its colour and join on their way.
``tests/test_rooms.py`` holds the committed picture to what this draws.
"""

import math
import sys
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

from imports import imports_of, pack_files, room_of

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs/rooms.svg"

Edges = dict[str, set[str]]

BOX, HEIGHT, GAP, LAYER, MARGIN = 104, 34, 20, 124, 24
"""Width and height of a room, the least distance of two, the distance of two layers, and around the picture."""
LANE = 10
"""Room for a line that passes a layer."""
SWEEPS = 24
COLOURS = (
    "#c0392b", "#2471a3", "#1e8449", "#b9770e", "#7d3c98", "#117a65", "#a04000", "#5d6d7e",
    "#9e9d24", "#d81b60", "#558b2f", "#6d4c41", "#283593",
)  # fmt: skip


def edges_of(root: Path) -> Edges:
    """Return every room with the rooms that it imports."""
    edges: Edges = {room_of(path, root): set() for path in pack_files(root)}
    for path in pack_files(root):
        room = room_of(path, root)
        for found in imports_of(path, root):
            target = found.module[0] if found.module else "__init__"
            if target != room and target in edges:
                edges[room].add(target)
    return edges


def ranks_of(edges: Edges) -> dict[str, int]:
    """Return the layer of each room: 0 imports nothing, the others one more than the highest they import."""
    ranks: dict[str, int] = {}

    def rank(room: str) -> int:
        if room not in ranks:
            ranks[room] = max((rank(target) + 1 for target in edges[room]), default=0)
        return ranks[room]

    for room in sorted(edges):
        rank(room)
    imported = set().union(*edges.values())
    for room in edges:
        if not edges[room] and room not in imported:  # stands for itself: at the top, out of the way
            ranks[room] = max(ranks.values())
    return ranks


@dataclass(frozen=True, order=True)
class Node:
    """A room, or a place where the lines to a room pass a layer."""

    layer: int
    room: str
    passes: bool = False

    @property
    def width(self) -> int:
        """Return how much of its layer it takes."""
        return LANE if self.passes else BOX


@dataclass
class Drawing:
    """Rooms in layers, with lines that join on their way to the same room."""

    edges: Edges
    x: dict[Node, float] = field(default_factory=dict)

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Return the layer of each room."""
        return ranks_of(self.edges)

    @cached_property
    def segments(self) -> list[tuple[Node, Node]]:
        """Return the pieces of lines, each from one layer to the one below, each once."""
        found = set()
        for room, targets in self.edges.items():
            for target in targets:
                upper = Node(self.ranks[room], room)
                for layer in range(self.ranks[room] - 1, self.ranks[target] - 1, -1):
                    lower = Node(layer, target, layer != self.ranks[target])
                    found.add((upper, lower))
                    upper = lower
        return sorted(found)

    @cached_property
    def below(self) -> dict[Node, list[Node]]:
        """Return the lower ends of the lines that leave a node."""
        return {node: [b for a, b in self.segments if a == node] for node, _ in self.segments}

    @cached_property
    def above(self) -> dict[Node, list[Node]]:
        """Return the upper ends of the lines that arrive at a node."""
        return {node: [a for a, b in self.segments if b == node] for _, node in self.segments}

    @cached_property
    def layers(self) -> list[list[Node]]:
        """Return the nodes of each layer from left to right, in an order with few crossings."""
        nodes = {Node(rank, room) for room, rank in self.ranks.items()} | {
            n for s in self.segments for n in s
        }
        layers = [sorted(n for n in nodes if n.layer == i) for i in range(max(self.ranks.values()) + 1)]
        for sweep in range(SWEEPS):
            place = {node: i / len(layer) for layer in layers for i, node in enumerate(layer)}
            for layer in layers:
                layer.sort(key=lambda node: (self._mean(node, place, downwards=bool(sweep % 2)), node))
        return layers

    def place(self) -> None:
        """Give every node its x: near those it is joined to, and clear of its neighbours."""
        self.x = {}
        for layer in self.layers:
            self._spread(layer, [0.0] * len(layer))
        for sweep in range(SWEEPS):
            for layer in self.layers:
                self._spread(layer, [self._mean(node, self.x, downwards=bool(sweep % 2)) for node in layer])
        left = min(self.x[node] - node.width / 2 for node in self.x) - MARGIN
        self.x = {node: x - left for node, x in self.x.items()}

    def _mean(self, node: Node, place: dict[Node, float], *, downwards: bool) -> float:
        """Return the mean place of what a node is joined to, above or below, or its own."""
        joined = (self.below if downwards else self.above).get(node, [])
        # Python 3.12 and newer add floats up otherwise than older ones by `sum`, and ties fall otherwise.
        return math.fsum(place[other] for other in joined) / len(joined) if joined else place[node]

    def _spread(self, layer: list[Node], wishes: list[float]) -> None:
        """Place a layer from left to right as near to the wishes as its order allows."""
        right, places = float("-inf"), []
        for node, wish in zip(layer, wishes, strict=True):
            places.append(max(wish, right + node.width / 2))
            right = places[-1] + node.width / 2 + GAP
        shift = math.fsum(wish - place for wish, place in zip(wishes, places, strict=True)) / len(layer)
        self.x.update({node: place + shift for node, place in zip(layer, places, strict=True)})

    def svg(self) -> str:
        """Return the picture."""
        self.place()
        width = max(self.x[node] + node.width / 2 for node in self.x) + MARGIN
        height = 2 * MARGIN + HEIGHT + LAYER * (len(self.layers) - 1)
        targets = sorted({room for found in self.edges.values() for room in found})
        colours = {room: COLOURS[i % len(COLOURS)] for i, room in enumerate(targets)}
        lines = [self._line(*segment, colours[segment[1].room]) for segment in self.segments]
        boxes = [
            self._box(node, colours.get(node.room, "#333333")) for node in sorted(self.x) if not node.passes
        ]
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">'
        style = "<style>text{font:14px sans-serif;text-anchor:middle}path{fill:none;stroke-width:1.6}</style>"
        back = f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>'
        return "\n".join([head, style, back, *lines, *boxes, "</svg>", ""])

    def _y(self, node: Node) -> float:
        return MARGIN + HEIGHT / 2 + LAYER * (len(self.layers) - 1 - node.layer)

    def _line(self, upper: Node, lower: Node, colour: str) -> str:
        """Return a piece of a line: straight on past a layer, with a head where it arrives."""
        start, end = self._y(upper) + HEIGHT / 2, self._y(lower) - HEIGHT / 2
        a, b, middle = self._port(upper, lower), self.x[lower], (start + end) / 2
        shape = f"M{a:.0f} {start:.0f}C{a:.0f} {middle:.0f} {b:.0f} {middle:.0f} {b:.0f} "
        if lower.passes:
            return f'<path d="{shape}{end:.0f}v{HEIGHT}" stroke="{colour}"/>'
        head = f"M{b - 5:.0f} {end - 9:.0f}L{b:.0f} {end:.0f}L{b + 5:.0f} {end - 9:.0f}Z"
        line = f'<path d="{shape}{end - 6:.0f}" stroke="{colour}"/>'
        return f'{line}<path d="{head}" style="fill:{colour}" stroke="{colour}"/>'

    def _port(self, upper: Node, lower: Node) -> float:
        """Return where a line leaves: side by side along the lower edge of a room, in the order of their ends."""
        if upper.passes:
            return self.x[upper]
        leaving = sorted(self.below[upper], key=lambda node: self.x[node])
        return self.x[upper] + (leaving.index(lower) - (len(leaving) - 1) / 2) * min(
            12, (BOX - 16) / len(leaving)
        )

    def _box(self, node: Node, colour: str) -> str:
        left, top = self.x[node] - BOX / 2, self._y(node) - HEIGHT / 2
        name = node.room + ("/" if (ROOT / node.room).is_dir() else ".py")
        shape = f'<rect x="{left:.0f}" y="{top:.0f}" width="{BOX}" height="{HEIGHT}" rx="5" fill="#fbfbfb"'
        text = (
            f'<text x="{self.x[node]:.0f}" y="{self._y(node) + 5:.0f}" fill="{colour}">{escape(name)}</text>'
        )
        return f'{shape} stroke="{colour}" stroke-width="1.6"/>{text}'


def described(edges: Edges) -> str:
    """Return the arrows as text, for those who cannot see the picture."""
    return "\n".join(f"{room}: {', '.join(sorted(edges[room])) or 'nothing'}" for room in sorted(edges))


def main() -> None:
    """Draw the picture, and print the arrows."""
    edges = edges_of(ROOT)
    PICTURE.write_text(Drawing(edges).svg(), encoding="utf-8")
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}\n{described(edges)}\n")


if __name__ == "__main__":
    main()
