"""Reads out of a PromQL expression which metrics and labels it names. Whether it is valid, promtool says."""

import re
from typing import NamedTuple

STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(rf"({NAME})?\s*\{{([^}}]*)\}}")
MATCHER = re.compile(r'([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
WINDOW = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
LABEL_REPLACE = re.compile(r'"(\w+)"\s*,\s*"[^"]*"\s*,\s*"(\w*)"\s*,\s*"[^"]*"\s*\)')
WORDS = {"and", "or", "unless", "bool", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "inf"}
GRAFANA = {
    "$__rate_interval": "1m",
    "$__interval": "5m",
    "$__range": "6h",
    "$interval": "5m",
    "$tenant": ".*",
    "${datasource}": "prometheus",
}
"""What Grafana fills in, with something that it might fill in."""


class Matcher(NamedTuple):
    """One comparison in the braces of a selector."""

    metric: str
    label: str
    how: str
    value: str


class Named(NamedTuple):
    """What an expression names: metrics, comparisons, the labels it groups or joins by, those it makes and from which."""

    metrics: frozenset[str]
    matchers: tuple[Matcher, ...]
    grouped: frozenset[str]
    made: frozenset[str]
    copied: frozenset[str]


def filled(expr: str) -> str:
    """The expression as Prometheus might get it from Grafana."""
    for name, value in GRAFANA.items():
        expr = expr.replace(name, value)
    return expr


def read(expr: str) -> Named:
    """What an expression names, Grafana's variables filled in."""
    expr, matchers = filled(expr), []
    for metric, inside in SELECTOR.findall(expr):
        matchers += [Matcher(metric, *found) for found in MATCHER.findall(inside)]
    replaced = LABEL_REPLACE.findall(expr)
    bare = STRING.sub('""', expr)
    grouped = {label.strip() for inside in GROUPING.findall(bare) for label in inside.split(",")} - {""}
    for noise in (GROUPING, WINDOW):
        bare = noise.sub(" ", bare)
    bare = re.sub(r"\{[^}]*\}", " ", bare)
    names = re.findall(rf"(?<![\w:])({NAME})(?!\s*\(|[\w:])", bare)
    return Named(
        frozenset(name for name in names if name.lower() not in WORDS),
        tuple(matchers),
        frozenset(grouped),
        frozenset(made for made, _ in replaced),
        frozenset(source for _, source in replaced if source),
    )
