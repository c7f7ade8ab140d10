import re

import cv2
import numpy as np
import pytest

from experiments import handwriting
from experiments.handwriting import EACH, HALVES, Person, draw

LABELS = {
    "single": r"\d",
    "rows": r"(?=(_?\d){2,6}$)\d+(_\d+)?",
    "framed": r"\d{1,5}",
    "shapes": r"letter \w|drawing \w+|scribble|dots|blank",
    "look-alikes": r"look-alike [OIlSZBoiszbgq]",
}


def read(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("kind", EACH)
def test_every_kind_shows_what_its_label_says_and_is_a_picture_of_a_bearable_size(kind):
    for number in range(EACH[kind]):
        label, content = draw(kind, Person(2), number)
        assert re.fullmatch(LABELS[kind], label)
        assert handwriting.SMALLEST - 1 <= max(read(content).shape) <= handwriting.LARGEST + 1


def test_the_halves_share_no_person_and_have_as_many():
    development, held_back = (set(half) for half in HALVES.values())
    assert not development & held_back
    assert len(development) == len(held_back) == 24


def test_a_seed_is_a_person_whose_pictures_are_always_the_same():
    assert draw("rows", Person(2), 1) == draw("rows", Person(2), 1)
    assert draw("rows", Person(2), 1) != draw("rows", Person(4), 1)
    pens = {(*person.pen["colour"], person.slant) for person in map(Person, HALVES["development"])}
    assert len(pens) == len(HALVES["development"])


@pytest.mark.parametrize(("share", "pieces"), [(0, 4), (1, 1)])
def test_neighbours_touch_as_often_as_they_are_said_to(share, pieces, monkeypatch):
    monkeypatch.setattr(handwriting, "TOUCHING", share)
    page = np.zeros((300, 1000, 3), np.float32)
    layer = Person(2).write("0000", np.random.default_rng(0))._replace(colour=(255, 255, 255))
    handwriting.put(page, layer._replace(strokes=[line + 0.5 for line in layer.strokes]), 150, np.random.default_rng(0))
    count, _ = cv2.connectedComponents((page[..., 0] > 127).astype(np.uint8))
    assert count - 1 == pieces


def test_a_frame_is_around_its_digit_and_a_line_below_it():
    person, rng = Person(2), np.random.default_rng(0)
    digits = person.write("5", rng)
    (left, top), (right, bottom) = handwriting.extent(digits.strokes)
    for kind in ("box", "circle"):
        low, high = handwriting.extent(person.frame(kind, digits, np.zeros(0), np.random.default_rng(1)).strokes)
        assert (low < [left, top]).all()
        assert (high > [right, bottom]).all()
    (underline,) = person.frame("underline", digits, np.zeros(0), rng).strokes
    assert (underline[:, 1] > bottom).all()


def test_the_command_writes_the_development_half_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(handwriting, "EACH", {"single": 2})
    monkeypatch.setitem(HALVES, "development", range(0, 4, 2))
    handwriting.main([str(tmp_path)])
    written = {path.stem: path.read_bytes() for path in (tmp_path / "single").iterdir()}
    expected = [draw("single", Person(seed), number) for number in (0, 1) for seed in (0, 2)]
    assert written == {f"{label}-{place:03}": content for place, (label, content) in enumerate(expected)}
