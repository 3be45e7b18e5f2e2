"""The picture of the rooms is the one that the imports give."""

from draw_rooms import PICTURE, ROOT, Drawing, Node, edges_of, ranks_of


def test_the_committed_picture_is_drawn_from_the_imports():
    drawn = Drawing(edges_of(ROOT)).svg()
    assert PICTURE.read_text(encoding="utf-8") == drawn, "run: python tests/support/draw_rooms.py"


def test_every_import_is_a_line_that_leads_down(root):
    edges = edges_of(root)
    drawing = Drawing(edges)
    assert all(upper.layer == lower.layer + 1 for upper, lower in drawing.segments)
    for room, targets in edges.items():
        reached, waiting = set(), list(drawing.below.get(Node(drawing.ranks[room], room), ()))
        while waiting:
            node = waiting.pop()
            if node.passes:  # on its way to one room
                waiting.extend(lower for lower in drawing.below[node] if lower.room == node.room)
            else:
                reached.add(node.room)
        assert reached == targets, room


def test_rooms_stand_above_what_they_import(tmp_path):
    for name, text in {
        "top": "from .middle import x\nfrom .bottom import y",
        "middle": "from . import bottom",
        "bottom": "import os",
        "alone": "import os",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    edges = edges_of(tmp_path)
    assert edges == {"top": {"middle", "bottom"}, "middle": {"bottom"}, "bottom": set(), "alone": set()}
    assert ranks_of(edges) == {"top": 2, "middle": 1, "bottom": 0, "alone": 2}
    picture = Drawing(edges).svg()
    assert picture.count("<rect") == 1 + len(edges)
    assert picture.count("Z") == 3  # a head where a line arrives: at the middle, and twice at the bottom
