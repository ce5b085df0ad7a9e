"""The part of CEL that KFP's compiler writes into conditions and selectors.

v2/expression/expression.go evaluates conditions with cel-go over the fields of ExecutorInput, and selectors over the
fields of a protobuf Value, with `parseJson` added. Here: literals, names, selection and indexing, `==`, `!=`, `<`,
`<=`, `>`, `>=`, `!`, `&&`, `||`, parentheses, `int`, `double`, `string`, `size` and `parseJson`. Values of different
types are never compared: cel-go refused that before it learned to answer "different", and a condition that relies on
the answer is a mistake. A number of a pipeline is a double, so the compiler writes `int(...)` around integers.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>\d+\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\d+)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<symbol>==|!=|<=|>=|&&|\|\||[!<>()\[\].\-])
    )""",
    re.VERBOSE,
)
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?"}

Node = Callable[[Mapping[str, Any]], Any]
"""Evaluates itself over the variables."""


class ExpressionError(ValueError):
    """An expression cannot be read, or cannot be evaluated over these values."""


def parse(text: str) -> Node:
    """Reads an expression.

    Raises:
        ExpressionError: it is none, or it uses more of CEL than is known here.
    """
    return _Parser(text).whole()


def condition(text: str, variables: Mapping[str, Any]) -> bool:
    """Whether a task runs.

    Args:
        text: such as `inputs.parameter_values['x'] == true`.
        variables: `inputs` as a mapping with `parameter_values`, numbers as floats.

    Raises:
        ExpressionError: it has no answer of true or false.
    """
    result = parse(text)(variables)
    if not isinstance(result, bool):
        raise ExpressionError(f"condition {text!r}: true or false is wanted, found {result!r}")
    return result


def select(text: str, value: Any) -> Any:
    """What a parameterExpressionSelector takes out of a value.

    `string_value` is always there: `Select` in v2/expression/expression.go fills it with the value's JSON text.

    Raises:
        ExpressionError: it cannot be evaluated.
    """
    variables: dict[str, Any] = {"string_value": value if isinstance(value, str) else json.dumps(value)}
    for kind, name in ((bool, "bool_value"), (float, "number_value"), (list, "list_value"), (dict, "struct_value")):
        if isinstance(value, kind):
            variables[name] = value
    return parse(text)(variables)


class _Parser:
    """Recursive descent over CEL's precedence: or, and, relations, unary, members."""

    def __init__(self, text: str):
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._error(f"cannot read {text[position:].strip()[:20]!r}")
            self._tokens.append((str(match.lastgroup), match.group(str(match.lastgroup))))
            position = match.end()
        self._next = 0

    def _error(self, problem: str) -> ExpressionError:
        return ExpressionError(f"expression {self._text!r}: {problem}; the local backend knows a part of CEL only")

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "")

    def _take(self, *symbols: str) -> str:
        kind, text = self._peek()
        if kind == "symbol" and text in symbols:
            self._next += 1
            return text
        return ""

    def _expect(self, symbol: str) -> None:
        if not self._take(symbol):
            raise self._error(f"{symbol!r} is wanted, found {self._peek()[1]!r}")

    def whole(self) -> Node:
        node = self._or()
        if self._peek()[0] != "end":
            raise self._error(f"cannot read {self._peek()[1]!r}")
        return node

    def _or(self) -> Node:
        node = self._and()
        while self._take("||"):
            node = _logical(node, self._and(), decisive=True)
        return node

    def _and(self) -> Node:
        node = self._relation()
        while self._take("&&"):
            node = _logical(node, self._relation(), decisive=False)
        return node

    def _relation(self) -> Node:
        node = self._unary()
        while symbol := self._take(*_COMPARISONS):
            node = _comparison(symbol, node, self._unary())
        return node

    def _unary(self) -> Node:
        if self._take("!"):
            inner = self._unary()
            return lambda variables: not _boolean(inner(variables))
        if self._take("-"):
            inner = self._unary()
            return lambda variables: -_number(inner(variables))
        return self._member()

    def _member(self) -> Node:
        node = self._primary()
        while True:
            if self._take("."):
                kind, name = self._peek()
                if kind != "name":
                    raise self._error(f"a field is wanted, found {name!r}")
                self._next += 1
                if self._peek() == ("symbol", "("):
                    raise self._error(f"method {name} is not known")
                node = _index(node, lambda _, name=name: name)  # type: ignore[misc]
            elif self._take("["):
                node = _index(node, self._or())
                self._expect("]")
            else:
                return node

    def _primary(self) -> Node:
        kind, text = self._peek()
        self._next += 1
        if kind == "number":
            number = int(text) if text.isdigit() else float(text)
            return lambda _: number
        if kind == "string":
            string = re.sub(r"\\(.)", self._escape, text[1:-1])
            return lambda _: string
        if kind == "name" and text in ("true", "false", "null"):
            constant = {"true": True, "false": False, "null": None}[text]
            return lambda _: constant
        if kind == "name" and self._take("("):
            if text not in _FUNCTIONS:
                raise self._error(f"function {text} is not known")
            argument = self._or()
            self._expect(")")
            return lambda variables: _FUNCTIONS[text](argument(variables))
        if kind == "name":
            return lambda variables: _variable(variables, text)
        if (kind, text) == ("symbol", "("):
            node = self._or()
            self._expect(")")
            return node
        raise self._error(f"a value is wanted, found {text!r}")

    def _escape(self, match: re.Match[str]) -> str:
        if match.group(1) not in _ESCAPES:
            raise self._error(f"escape {match.group()!r} is not known")
        return _ESCAPES[match.group(1)]


def _logical(left: Node, right: Node, *, decisive: bool) -> Node:
    """`||` (decisive: true) and `&&`: in CEL the deciding side wins over an error on the other side."""

    def evaluate(variables: Mapping[str, Any]) -> bool:
        try:
            first = _boolean(left(variables))
        except ExpressionError:
            if _boolean(right(variables)) == decisive:
                return decisive
            raise
        return first if first == decisive else _boolean(right(variables))

    return evaluate


def _comparison(symbol: str, left: Node, right: Node) -> Node:
    def evaluate(variables: Mapping[str, Any]) -> bool:
        first, second = left(variables), right(variables)
        ordered = symbol not in ("==", "!=")
        if type(first) is not type(second) or (ordered and not isinstance(first, (bool, int, float, str))):
            raise ExpressionError(
                f"{first!r} {symbol} {second!r}: a {_kind(first)} is not compared with a {_kind(second)}; "
                "a pipeline's numbers are doubles, compare int(...) with an integer"
            )
        return bool(_COMPARISONS[symbol](first, second))

    return evaluate


def _index(node: Node, key: Node) -> Node:
    def evaluate(variables: Mapping[str, Any]) -> Any:
        container, name = node(variables), key(variables)
        try:
            if isinstance(container, Mapping) or (isinstance(container, list) and type(name) is int and name >= 0):
                return container[name]
        except LookupError:
            pass
        known = ", ".join(map(str, container)) if isinstance(container, Mapping) else _kind(container)
        raise ExpressionError(f"no such key: {name!r}; found: {known or 'nothing'}")

    return evaluate


def _variable(variables: Mapping[str, Any], name: str) -> Any:
    if name not in variables:
        raise ExpressionError(f"undeclared reference to {name!r}; there is: {', '.join(variables)}")
    return variables[name]


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError(f"true or false is wanted, found {value!r}")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ExpressionError(f"a number is wanted, found {value!r}")
    return value


def _kind(value: Any) -> str:
    return {float: "double", dict: "map", type(None): "null", str: "string"}.get(type(value), type(value).__name__)


def _convert(to: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ExpressionError(f"{to.__name__}({value!r}): a number or a string is wanted")
        try:
            return to(value)
        except (ValueError, OverflowError) as error:
            raise ExpressionError(f"{to.__name__}({value!r}): {error}") from error

    return convert


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ExpressionError(f"string({value!r}): a simple value is wanted")


def _size(value: Any) -> int:
    if not isinstance(value, (str, list, dict)):
        raise ExpressionError(f"size({value!r}): a string, a list or a map is wanted")
    return len(value)


def _parse_json(text: Any) -> Any:
    if not isinstance(text, str):
        raise ExpressionError(f"parseJson({text!r}): a string is wanted")
    try:
        return json.loads(text, parse_int=float)
    except ValueError as error:
        raise ExpressionError(f"parseJson({text!r}): {error}") from error


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "int": _convert(int),
    "double": _convert(float),
    "string": _string,
    "size": _size,
    "parseJson": _parse_json,
}
