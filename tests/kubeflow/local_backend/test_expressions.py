"""Conditions as KFP's compiler writes them."""

from typing import Any

import pytest

from kubeflow.local_backend.expressions import ExpressionError, condition, parse, select

VALUES = {"flag": True, "n": 3.0, "half": 0.5, "name": "it's", "list": [1.0, 2.0], "map": {"a": "b"}, "nothing": None}


def holds(text: str) -> bool:
    return condition(text.replace("$", "inputs.parameter_values"), {"inputs": {"parameter_values": VALUES}})


@pytest.mark.parametrize(
    "text",
    [
        "$['flag'] == true",
        "$['flag']",
        '$["n"] == 3.0',
        "int($['n']) == 3",
        "int($['n']) <= 3 && int($['n']) >= 3",
        "$['half'] < 0.75",
        "$['half'] > -1.5e0",
        "$['name'] == 'it\\'s'",
        "!($['flag'] == false) && $['name'] != 'other'",
        "$['flag'] == false || ($['n'] > 2.0)",
        "string($['n']) == '3'",
        "string($['flag']) == 'true'",
        "size($['list']) == 2 && $['list'][1] == 2.0",
        "$['map'].a == 'b'",
        "$['nothing'] == null",
        "double('2.5') == 2.5",
        "parseJson('{\"a\": [1]}').a[0] == 1.0",
        # In CEL the deciding side wins over an error on the other.
        "$['missing'] == 1 || true",
        "true || $['missing'] == 1",
        "!($['missing'] == 1 && false)",
    ],
)
def test_what_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize("text", ["$['flag'] == false", "!$['flag']", "int($['n']) > 3", "'b' < 'a'", "false && true"])
def test_what_does_not_hold(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("$['missing'] == 1", "no such key: 'missing'"),
        ("other == 1", "undeclared reference to 'other'"),
        ("$['n'] == 3", "a double is not compared with a int"),
        ("$['flag'] == 'true'", "a bool is not compared with a string"),
        ("$['map'] < $['map']", "not compared"),
        ("$['n']", "true or false is wanted"),
        ("!$['n']", "true or false is wanted"),
        ("$['missing'] == 1 && true", "no such key"),
        ("int('x') == 1", "int"),
        ("-$['flag'] == 1", "a number is wanted"),
        ("size(1) == 1", "size"),
        ("string($['list']) == ''", "string"),
        ("parseJson(1) == 1", "parseJson"),
        ("parseJson('{') == 1", "parseJson"),
        ("int($['flag']) == 1", "a number or a string"),
        ("$['list'][7] == 1", "no such key"),
    ],
)
def test_what_has_no_answer(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError, match=problem.replace("(", r"\(")):
        holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 +",
        "1 + 1",
        "a ? b : c",
        "a.matches('x')",
        "unknown(1)",
        "(1 == 1",
        "a[1",
        "'open",
        "a.",
        "1 1",
        "'\\d'",
        "&&",
    ],
)
def test_more_of_cel_is_refused_before_it_runs(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "value", "selected"),
    [
        ('parseJson(string_value)["a"]', {"a": 2.0}, 2.0),
        ("struct_value.a", {"a": 2.0}, 2.0),
        ("list_value[0]", ["x"], "x"),
        ("number_value", 2.5, 2.5),
        ("bool_value", True, True),
        ("string_value", "text", "text"),
    ],
)
def test_a_selector_takes_a_part_of_a_value(text: str, value: Any, selected: Any) -> None:
    assert select(text, value) == selected
