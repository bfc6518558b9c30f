"""The picture shows what was measured: python3 -m unittest."""

import unittest
from xml.etree import ElementTree

from account import Sample
from chart import LEFT, SCALE, chart, place

SVG = "{http://www.w3.org/2000/svg}"


def sample(system: str, gap: float | None, lost: int = 0, two_writers: float | None = None) -> Sample:
    return Sample(system, "kill", gap, gap, lost, 0, 0, two_writers, True, 1.0)


class Chart(unittest.TestCase):
    def test_each_run_is_a_dot_at_its_time(self) -> None:
        samples = [sample("hafail, synchronous", 0.3), sample("hafail", 1.0), sample("other", 10.0, lost=2, two_writers=6.6)]
        picture = ElementTree.fromstring(chart(samples))
        dots = [(dot.get("class"), float(dot.get("cx") or 0)) for dot in picture.iter(f"{SVG}circle")]
        self.assertEqual([kind for kind, _ in dots], ["ours", "ours", "bad"])
        for (_, x), gap in zip(dots, (0.3, 1.0, 10.0)):
            self.assertAlmostEqual(x, place(gap), places=0)
        said = [text.text for text in picture.iter(f"{SVG}text")]
        self.assertIn("2 lost, two writers, 7 s", said)

    def test_the_scale_has_ends(self) -> None:
        self.assertEqual(place(0.01), LEFT)
        self.assertEqual(place(1e9), LEFT + SCALE)
        self.assertAlmostEqual(place(1.0) - LEFT, SCALE / 3)

    def test_a_run_that_never_went_on_is_at_the_end(self) -> None:
        picture = ElementTree.fromstring(chart([sample("other", None)]))
        dot = next(picture.iter(f"{SVG}circle"))
        self.assertEqual((dot.get("class"), float(dot.get("cx") or 0)), ("bad", LEFT + SCALE))


if __name__ == "__main__":
    unittest.main()
