"""The limits that keep the package readable."""

from tests.support.house import ROOT, House, measure

FEW = 3  # functions whose signature a framework dictates


def house() -> House:
    return measure(ROOT)


def test_no_file_and_no_function_is_too_long_to_read_at_once() -> None:
    assert house().long_files() == []
    assert house().long_functions() == []


def test_parameters_after_the_second_are_given_by_name() -> None:
    measured = house()
    assert len(measured.loose_functions()) <= FEW, measured.loose_functions()
    assert max(function.positional for function in measured.functions) <= 5


def test_no_two_classes_have_one_name() -> None:
    assert house().shared_names() == []


def test_the_package_stays_small() -> None:
    measured = house()
    assert len(measured.files) <= 102
    assert sum(measured.files.values()) <= 17_999
