"""YAML as people mean it: what YAML 1.1 would turn into another value stays text.

`010` (octal), `1:30` (base 60), dates and numbers of more than 100 characters are text here, as in
the service, which then says what to write instead. The service has these rules in its own library
(`app.training.document`); a test holds both to one table.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

_FIRST = "-+0123456789."
_INTEGER = re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
_FLOAT = re.compile(
    r"([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
)
_LONGEST_NUMBER = 100
_REPLACED = ("int", "float", "timestamp")


def load(text: str) -> Any:
    """Return what a document holds.

    Raises:
        yaml.YAMLError: The text is not YAML.
    """
    import yaml  # 20 ms that few callers pay

    return yaml.load(text, _loader())


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """`SafeLoader` with fewer surprises."""

        def construct_number(self, node: Any) -> Any:
            if len(node.value) > _LONGEST_NUMBER:  # Python refuses to read thousands of digits
                return node.value
            whole = node.tag == "tag:yaml.org,2002:int"
            return (self.construct_yaml_int if whole else self.construct_yaml_float)(node)

    tags = {f"tag:yaml.org,2002:{name}" for name in _REPLACED}
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rules if tag not in tags]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list(_FIRST))
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list(_FIRST))
    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", Loader.construct_number)
    return Loader
