from __future__ import annotations

from warmstart.training.checks import Check
from warmstart.training.stop_rule import choose, is_enough


def _check(step, formed, lenient, live):
    return Check(step, formed, lenient, live)


def test_it_is_enough_when_the_format_is_there_twice_and_live_groups_rise_no_more() -> None:
    early, there, more = _check(1, 0.5, 0.6, 0.3), _check(2, 0.92, 0.6, 0.6), _check(3, 0.95, 0.6, 0.7)
    assert not is_enough([early])
    assert not is_enough([early, there])
    assert not is_enough([there, more])
    assert is_enough([early, there, _check(3, 0.95, 0.6, 0.5)])


def test_the_best_check_has_the_format_the_skill_and_the_most_live_groups() -> None:
    checks = [_check(1, 0.5, 0.6, 0.9), _check(2, 0.91, 0.6, 0.6), _check(3, 0.97, 0.6, 0.4)]
    assert choose(checks, lenient_before=0.6) == 1


def test_a_check_that_lost_the_skill_is_not_chosen_however_good_its_format() -> None:
    checks = [_check(1, 0.7, 0.55, 0.4), _check(2, 0.99, 0.05, 0.2)]
    assert choose(checks, lenient_before=0.6) == 0


def test_without_the_format_anywhere_the_most_of_it_counts() -> None:
    assert choose([_check(1, 0.2, 0.5, 0.1), _check(2, 0.6, 0.5, 0.1)], lenient_before=0.5) == 1


def test_when_all_have_lost_the_skill_the_one_that_kept_most_is_taken() -> None:
    assert choose([_check(1, 0.9, 0.2, 0.1), _check(2, 0.9, 0.1, 0.1)], lenient_before=0.9) == 0
