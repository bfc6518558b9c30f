"""The figures of a run are worked out rightly: python3 -m unittest."""

import unittest

from account import Attempt, attempts, goes_on, longest_gap, missing, two_writers


def log(*entries: tuple[float, str]) -> list[Attempt]:
    return [Attempt(number, at - 0.001, at, answer) for number, (at, answer) in enumerate(entries)]


class Account(unittest.TestCase):
    def test_the_gap_lies_around_the_fault(self) -> None:
        writes = log((1.0, "accepted"), (5.0, "accepted"), (5.1, "accepted"), (6.0, "unknown"), (6.9, "accepted"))
        self.assertEqual(longest_gap(writes, 5.05), (5.1, 6.9))

    def test_no_gap_ends_where_nothing_is_acknowledged_any_more(self) -> None:
        self.assertIsNone(longest_gap(log((1.0, "accepted"), (2.0, "unknown")), 1.5))

    def test_two_writers_are_seen_for_as_long_as_both_acknowledge(self) -> None:
        old = log((1.0, "accepted"), (4.0, "accepted"), (5.0, "refused"))
        new = log((0.5, "refused"), (2.5, "accepted"), (6.0, "accepted"))
        self.assertEqual(two_writers(old, new), 1.5)
        self.assertEqual(two_writers(new, old), 1.5)

    def test_one_after_the_other_is_one_writer(self) -> None:
        self.assertIsNone(two_writers(log((1.0, "accepted")), log((1.1, "accepted"))))
        self.assertIsNone(two_writers(log((1.0, "accepted")), log((1.1, "refused"))))

    def test_only_acknowledged_writes_can_be_lost(self) -> None:
        self.assertEqual(missing(log((1.0, "accepted"), (2.0, "unknown"), (3.0, "accepted")), {0}), 1)

    def test_it_goes_on_once_writes_of_after_the_fault_are_acknowledged_in_a_row(self) -> None:
        writes = log(*[(1 + number / 100, "accepted") for number in range(60)])
        self.assertTrue(goes_on(writes, 0.5, 1.7))
        self.assertFalse(goes_on(writes, 1.2, 1.7), "some are of before")
        self.assertFalse(goes_on(writes, 0.5, 9.0), "it has ended since")

    def test_a_line_that_was_cut_off_is_no_attempt(self) -> None:
        self.assertEqual(attempts("1 1000000000 2000000000 accepted\n2 3000"), [Attempt(1, 1.0, 2.0, "accepted")])


if __name__ == "__main__":
    unittest.main()
