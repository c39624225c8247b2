"""Every public name says what it is, takes, gives and raises, and names nothing that does not exist.

Public is what `__all__` of the package and of the modules in `ROOMS` lists, and their methods, properties and attributes without an
underscore. A class and its methods may leave to a base class, or to the protocol that they fulfil, what is said there. A class that says
"Made by `name`" is not made by its users, and need not name the arguments of its `__init__`.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import cervello
from cervello import errors
from cervello.native import IOBinding
from cervello.noise import Generator

ROOMS = ["cervello", "cervello.bridge", "cervello.description", "cervello.envs", "cervello.errors", "cervello.evaluation", "cervello.heads",
         "cervello.inferers", "cervello.noise", "cervello.onnx_backend", "cervello.ops", "cervello.recording", "cervello.spaces",
         "cervello.statistics", "cervello.wrappers"]
NOT_GIVEN = {"self", "cls", "args", "kwargs", "typing_context"}  # the last one comes from numba
PROTOCOLS = [cervello.Inferer, cervello.Wrapper, Generator]
ENTRY = re.compile(r"^  (\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*):", re.MULTILINE)  # `  name: text` or `  a, b: text`
SHAPE = re.compile(r"\[[\w*, .+×()-]+\]|\bshape|\bscalar|\brows?\b|\bcolumns?\b|\bsixteen\b|\([A-Z][\w, .]*,[\w, .*]*\)")


class Documented(NamedTuple):
    """A public function, method, property or class.

    Attributes:
      name: from the package on.
      text: its docstring, and those of the base classes, or of their methods of that name.
      own: the one that help() shows, in which no name may be stale.
      function: what runs: the function itself, or a class's `__init__`; None where there is none in Python.
      attributes: of a class: names without an underscore that its body annotates or its `__init__` sets.
      about: docstrings that may say what it raises beside its own: the class's.
    """

    name: str
    text: str
    own: str
    function: Callable[..., Any] | None
    attributes: frozenset[str]
    about: str = ""

    @property
    def parameters(self) -> list[str]:
        """Names of what a caller gives."""
        if self.function is None:
            return []
        code = inspect.signature(self.function).parameters
        return [name for name in code if name not in NOT_GIVEN and not name.startswith("_")]


def _function(value: object) -> Callable[..., Any] | None:
    """The Python function behind a method, property or compiled function."""
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, functools.cached_property):
        value = value.func
    value = getattr(value, "__func__", value)
    value = getattr(value, "_defn", None) or getattr(value, "py_func", None) or value  # what numba compiles
    return value if inspect.isfunction(value) else None


def _ours(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if base.__module__.startswith("cervello")]


def _docs(bases: Iterable[type], method: str) -> list[str]:
    found = (_function(vars(base).get(method)) for base in bases)
    return [inspect.cleandoc(function.__doc__) for function in found if function is not None and function.__doc__]


def _attributes(cls: type) -> frozenset[str]:
    found = set()
    for base in _ours(cls):
        tree = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(tree, ast.ClassDef)
        for node in tree.body:
            if isinstance(node, ast.AnnAssign | ast.Assign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                found |= {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)
                          and isinstance(each.value, ast.Name) and each.value.id == "self"}
    return frozenset(name for name in found if not name.startswith("_"))


def _below(module: str, name: str) -> str:
    """The string below the assignment of a name, in the module where that is; "" where there is none."""
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ImportFrom) and node.module and any(each.name == name for each in node.names):
            return _below(node.module, name)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.literal_eval(following.value) if isinstance(following, ast.Expr) else ""
    return ""


def _of_class(name: str, cls: type) -> Iterator[Documented]:
    text = "\n".join(inspect.cleandoc(base.__doc__) for base in cls.__mro__ if base.__doc__ and base is not object)
    init = next((base.__init__ for base in _ours(cls) if "__init__" in vars(base)), None)  # type: ignore[misc]
    is_error = issubclass(cls, BaseException)
    protocol = getattr(cls, "_is_protocol", False)
    more = inspect.cleandoc(init.__doc__) if init is not None and init.__doc__ else ""
    own = inspect.cleandoc(cls.__doc__ or "")
    yield Documented(name, f"{text}\n{more}", own, None if is_error or protocol or "Made by" in own else init, _attributes(cls))
    protocols = [each for each in PROTOCOLS if all(hasattr(cls, name) for name in vars(each) if not name.startswith("_"))]
    seen: set[str] = set()
    for base in _ours(cls):
        for method, value in vars(base).items():
            function = _function(value)
            if method.startswith(("_", "test_")) or method in seen or function is None:
                continue
            seen.add(method)
            docs = _docs([*cls.__mro__, *protocols], method)
            yield Documented(f"{name}.{method}", "\n".join(docs), docs[0] if docs else "", function, frozenset(), text)


def _everything() -> Iterator[Documented]:
    seen: set[int] = set()
    for module in map(importlib.import_module, ROOMS):
        for name in module.__all__:
            value = getattr(module, name)
            if id(value) in seen:
                continue
            seen.add(id(value))
            full = f"{module.__name__}.{name}"
            if inspect.isclass(value):
                yield from _of_class(full, value)
            elif not inspect.ismodule(value):
                function = _function(value)
                if function is not None and not function.__module__.startswith("cervello"):
                    continue  # inherited from the standard interface of backends
                text = inspect.cleandoc(getattr(function, "__doc__", None) or _below(module.__name__, name))
                made = function is None or "<locals>" in function.__qualname__
                yield Documented(full, text, text, None if made else function, frozenset())
    yield from _of_class("cervello.native.IOBinding", IOBinding)


PUBLIC = {each.name: each for each in _everything()}


def entries(text: str, section: str) -> list[str]:
    """Names that a section of a docstring lists."""
    found = re.search(rf"^{section}:\n((?:(?:  .*)?\n?)*)", text, re.MULTILINE)
    return [] if found is None else [name.lstrip("*") for group in ENTRY.findall(found[1]) for name in group.split(", ")]


def unsaid(names: Iterable[str], *texts: str) -> list[str]:
    """Those of the names that none of the texts has as a word."""
    return [name for name in names if not any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for text in texts)]


def raised(function: Callable[..., Any] | None) -> set[str]:
    """Cervello's errors that a function's own code raises."""
    if function is None or function.__code__.co_filename == "<string>":  # a dataclass's __init__
        return set()
    nodes = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function))))
    calls = [node.exc for node in nodes if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)} & set(errors.__all__)


def faults(check: Callable[[Documented], object]) -> dict[str, object]:
    """What a check says of all public names, by name; those of which it says nothing are left out."""
    return {name: found for name, documented in PUBLIC.items() if (found := check(documented))}


def test_it_has_a_docstring() -> None:
    assert faults(lambda each: not each.text.strip()) == {}


def test_it_says_what_it_takes() -> None:
    assert faults(lambda each: unsaid(each.parameters, each.text, each.about)) == {}


def test_a_class_says_what_its_attributes_are() -> None:
    assert faults(lambda each: unsaid(sorted(each.attributes), each.text)) == {}


def test_what_gives_an_array_says_its_shape() -> None:
    def check(each: Documented) -> bool:
        given = "" if each.function is None else str(inspect.get_annotations(each.function).get("return", ""))
        return re.search(r"\b(Array|ndarray)\b", given) is not None and SHAPE.search(each.text) is None

    assert faults(check) == {}


def test_it_says_which_errors_it_raises() -> None:
    assert faults(lambda each: unsaid(sorted(raised(each.function)), each.text, each.about)) == {}


def test_it_names_no_parameter_attribute_or_error_that_does_not_exist() -> None:
    def check(each: Documented) -> list[str]:
        parameters = () if each.function is None else inspect.signature(each.function).parameters
        attributes = each.attributes | {name.rpartition(".")[2] for name in PUBLIC if name.startswith(f"{each.name}.")}
        stale = [name for name in entries(each.own, "Args") if name not in parameters]
        stale += [name for name in entries(each.own, "Attributes") if name not in attributes]
        return stale + [name for name in entries(each.own, "Raises") if not hasattr(errors, name) and not hasattr(builtins, name)]

    assert faults(check) == {}


def test_it_is_all_that_is_public() -> None:
    assert len(PUBLIC) > 500
    assert {"cervello.load", "cervello.Policy.infer_batch", "cervello.heads.Categorical", "cervello.ops.exp"} <= PUBLIC.keys()
    assert {f"cervello.{name}" for name in cervello.__all__ if callable(getattr(cervello, name))} <= PUBLIC.keys()
