"""Function calls that a text makes, against the functions that its prompt offers. A free check: no model, no label.

Understood are `[name(key=value), ...]` as Python would read it, and JSON with `name` and `arguments` or with one
name as the only key.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

_SHAPES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "int": (int,),
    "float": (int, float),
    "number": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "bool": (bool,),
    "string": (str,),
    "array": (list, tuple),
    "list": (list, tuple),
    "tuple": (list, tuple),
    "dict": (dict,),
    "object": (dict,),
}
_OFFER = re.compile(r'(?:\[\s*\{|\{)\s*"name"\s*:')
_MISSES = 20
"""Places of a prompt that look like functions and are none; after so many the rest is not read."""
_OPENING = re.compile(r"^\s*(?:```\w*)?\s*\[?\s*[A-Za-z_][\w.]*\s*\(")
_KEPT = 128
"""Texts whose calls are kept: a task is looked at several times in a row."""
_LONGEST = 6_000
"""Characters of an answer that are read as calls; longer ones are prose."""


class Unread(NamedTuple):
    """An argument that is no literal, as it was written."""

    source: str


class Call(NamedTuple):
    """One call: the name and the arguments by key (positional ones as `#0`, `#1`, ...)."""

    name: str
    arguments: dict[str, Any]


class Offer(NamedTuple):
    """A function that may be called: its parameters (name to declared type) and which of them are required."""

    name: str
    description: str
    parameters: dict[str, str]
    required: frozenset[str]


class Fit(NamedTuple):
    """How well calls fit what is offered; each is a share of calls or of arguments, 1 where there are none."""

    names: float
    parameters: float
    required: float
    types: float

    @property
    def whole(self) -> bool:
        """Nothing is wrong with them."""
        return min(self) == 1.0


@lru_cache(maxsize=_KEPT)
def offers(prompt: str) -> dict[str, Offer]:
    """The functions that a prompt lists as JSON, by name; none where it lists none."""
    found: dict[str, Offer] = {}
    if '"name"' not in prompt:
        return found
    decoder = json.JSONDecoder()
    at = misses = 0
    while misses < _MISSES and (begin := _OFFER.search(prompt, at)) is not None:
        try:
            listed, at = decoder.raw_decode(prompt, begin.start())
        except (ValueError, RecursionError):
            at = begin.end()
            misses += 1
            continue
        for one in listed if isinstance(listed, list) else [listed]:
            if (offer := _offer(one)) is not None:
                found[offer.name] = offer
    return found


def _offer(listed: object) -> Offer | None:
    if not isinstance(listed, dict) or not isinstance(listed.get("parameters"), dict):
        return None
    schema = listed["parameters"]
    properties = schema.get("properties")
    required = schema.get("required")
    return Offer(
        str(listed.get("name")),
        str(listed.get("description", "")),
        {name: _declared(about) for name, about in properties.items()} if isinstance(properties, dict) else {},
        frozenset(str(name) for name in required) if isinstance(required, list) else frozenset(),
    )


def _declared(about: object) -> str:
    return str(about.get("type", "")).lower() if isinstance(about, dict) else ""


@lru_cache(maxsize=_KEPT)
def parse(text: str) -> tuple[Call, ...] | None:
    """The calls that a text consists of; None where it is anything else."""
    if len(text) > _LONGEST:
        return None
    plain = _bare(text)
    if plain.startswith(("{", "[{")):
        return _from_json(plain)
    if not _OPENING.match(plain):
        return None
    tree = syntax(plain)
    if tree is None:
        return None
    nodes = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
    calls = [_call(node) for node in nodes]
    return tuple(call for call in calls if call is not None) if calls and None not in calls else None


def syntax(text: str) -> ast.expr | None:
    """The syntax tree of a text that is one Python expression; None where it is none. Nothing is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler warns of what it will not run, such as 1and
            return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bare(text: str) -> str:
    plain = text.strip().replace("\\_", "_")
    if plain.startswith("```"):
        plain = plain.strip("`").removeprefix("python").removeprefix("json").strip()
    return plain


def _call(node: ast.expr) -> Call | None:
    if not isinstance(node, ast.Call):
        return None
    arguments = {f"#{place}": _value(one) for place, one in enumerate(node.args)}
    arguments.update({one.arg or "**": _value(one.value) for one in node.keywords})
    return Call(ast.unparse(node.func), arguments)


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        source = ast.unparse(node)
        return {"true": True, "false": False, "null": None, "none": None}.get(source.lower(), Unread(source))


def _from_json(text: str) -> tuple[Call, ...] | None:
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    calls = [_json_call(one) for one in (listed if isinstance(listed, list) else [listed])]
    return tuple(call for call in calls if call is not None) if calls and None not in calls else None


def _json_call(listed: object) -> Call | None:
    if not isinstance(listed, dict):
        return None
    if "name" in listed and "arguments" in listed:
        name, arguments = listed["name"], listed["arguments"]
    elif len(listed) == 1:
        name, arguments = next(iter(listed.items()))
    else:
        return None
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return Call(str(name), arguments) if isinstance(arguments, dict) else None


def fit(calls: tuple[Call, ...], offered: dict[str, Offer]) -> Fit:
    """How well these calls fit the functions offered."""
    known = [(call, offered[call.name]) for call in calls if call.name in offered]
    given = [(key, value, offer) for call, offer in known for key, value in call.arguments.items()]
    typed = [(value, offer.parameters[key]) for key, value, offer in given if key in offer.parameters]
    return Fit(
        _share(len(known), len(calls)),
        _share(len(typed), len(given)),
        _share(sum(offer.required <= call.arguments.keys() for call, offer in known), len(known)),
        _share(sum(_fits(value, declared) for value, declared in typed), len(typed)),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _fits(value: Any, declared: str) -> bool:
    wanted = _SHAPES.get(declared)
    if wanted is None or isinstance(value, Unread):
        return True
    if isinstance(value, bool):
        return bool in wanted
    return isinstance(value, wanted)


def leaves(calls: tuple[Call, ...]) -> Iterator[Any]:
    """Every plain value among the arguments."""
    waiting: list[Any] = [value for call in calls for value in call.arguments.values()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set) and not isinstance(value, Unread):
            waiting.extend(value)
        else:
            yield value


def canonical(calls: tuple[Call, ...]) -> str:
    """One text for all ways of writing the same calls: argument order, quotes and number form do not count."""
    return ";".join(sorted(f"{call.name}({_plain(call.arguments)})" for call in calls))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{key}={_plain(one)}" for key, one in sorted(value.items(), key=lambda at: str(at[0])))
            + "}"
        )
    if isinstance(value, Unread):
        return value.source.strip("'\"")
    if isinstance(value, list | tuple):
        return "[" + ",".join(_plain(one) for one in value) + "]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return str(value)
