"""Classes that hold values: what `dataclasses` gives with slots, for a fifth of its import time.

Of most classes a short command makes no instance; `__init__` is compiled when the first one is made.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

Made = TypeVar("Made")

_ABSENT: Any = object()


class Field:
    """A field that is more than a name and a type; made by `field`."""

    __slots__ = ("compare", "default", "default_factory", "has_default", "init", "name", "repr")

    def __init__(self, default: Any, default_factory: Any, init: bool, repr: bool, compare: bool) -> None:
        self.name = ""
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr
        self.compare = compare
        self.has_default = default is not _ABSENT or default_factory is not _ABSENT


def field(
    *,
    default: Any = _ABSENT,
    default_factory: Callable[[], Any] | Any = _ABSENT,
    init: bool = True,
    repr: bool = True,
    compare: bool = True,
) -> Any:
    """Say more of a field; the parameters mean what they mean to `dataclasses.field`."""
    return Field(default, default_factory, init, repr, compare)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[Made]) -> type[Made]:
    """Make a class whose instances are their fields: unchangeable, and equal where the fields are."""
    made = _with_slots(
        cls,
        __eq__=_equal,
        __hash__=_hash,
        __repr__=_repr,
        __setattr__=_refuse_to_set,
        __delattr__=_refuse_to_delete,
        __getstate__=_state,
        __setstate__=_set_state,
    )
    compared = [each.name for each in _fields(made) if each.compare]
    made._value_key = _key_of(compared)  # type: ignore[attr-defined]
    return made


@dataclass_transform(eq_default=False, field_specifiers=(field,))
def mutable(cls: type[Made]) -> type[Made]:
    """Make a class whose instances are places to keep things; without `__eq__`, each is equal to itself only."""
    return _with_slots(cls, __repr__=_repr)


def replace(instance: Made, **changes: Any) -> Made:
    """A copy with other values of some fields."""
    for each in _fields(type(instance)):
        if each.init:
            changes.setdefault(each.name, getattr(instance, each.name))
    return type(instance)(**changes)


def _fields(cls: type) -> tuple[Field, ...]:
    fields: tuple[Field, ...] = cls._value_fields  # type: ignore[attr-defined]
    return fields


def _with_slots(cls: type[Made], **methods: Any) -> type[Made]:
    content = dict(cls.__dict__)
    own: list[Field] = []
    for name, annotation in content.get("__annotations__", {}).items():
        if annotation.startswith("ClassVar"):
            continue
        given = content.pop(name, _ABSENT)
        each = given if isinstance(given, Field) else Field(given, _ABSENT, True, True, True)
        each.name = name
        own.append(each)
    inherited = {each.name: each for base in cls.__bases__ for each in getattr(base, "_value_fields", ())}
    content["__slots__"] = tuple(each.name for each in own if each.name not in inherited)
    content["__match_args__"] = tuple(inherited | {each.name: each for each in own if each.init})
    content["_value_fields"] = tuple((inherited | {each.name: each for each in own}).values())
    for name, method in methods.items():
        content.setdefault(name, method)
    content.setdefault("__init__", _compile_and_init)
    content.pop("__dict__", None)
    content.pop("__weakref__", None)
    made: type[Made] = type(cls)(cls.__name__, cls.__bases__, content)  # type: ignore[misc]
    return made


def _compile_and_init(self: Any, *args: Any, **kwargs: Any) -> None:
    """`__init__` of a class without instances, which gives way to the compiled one."""
    cls: Any = next(each for each in type(self).__mro__ if "_value_fields" in each.__dict__)
    cls.__init__ = _compile_init(cls)
    cls.__init__(self, *args, **kwargs)


def _compile_init(cls: Any) -> Any:
    names: dict[str, Any] = {"_ABSENT": _ABSENT}
    parameters: list[str] = []
    body: list[str] = []
    can_set = cls.__setattr__ is object.__setattr__
    for each in _fields(cls):
        name = each.name
        names[f"_set_{name}"] = getattr(cls, name).__set__
        if each.default is not _ABSENT:
            names[f"_default_{name}"] = each.default
            parameters.append(f"{name}=_default_{name}")
        elif each.default_factory is not _ABSENT:
            names[f"_make_{name}"] = each.default_factory
            parameters.append(f"{name}=_ABSENT")
            body.append(f"if {name} is _ABSENT: {name} = _make_{name}()")
        elif each.init:
            parameters.append(name)
        else:
            continue
        body.append(f"self.{name} = {name}" if can_set else f"_set_{name}(self, {name})")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    lines = "\n ".join(body or ["pass"])
    exec(f"def __init__(self, {', '.join(parameters)}):\n {lines}", names)
    return names["__init__"]


def _key_of(names: list[str]) -> Any:
    """What two instances are compared by."""
    if not names:
        return staticmethod(lambda instance: ())
    return staticmethod(attrgetter(*names))


def _equal(self: Any, other: Any) -> bool:
    if type(other) is not type(self):
        return NotImplemented  # type: ignore[no-any-return]
    is_equal: bool = self._value_key(self) == self._value_key(other)
    return is_equal


def _hash(self: Any) -> int:
    return hash(self._value_key(self))


def _repr(self: Any) -> str:
    shown = ", ".join(
        f"{each.name}={getattr(self, each.name)!r}" for each in _fields(type(self)) if each.repr
    )
    return f"{type(self).__qualname__}({shown})"


def _refuse_to_set(self: Any, name: str, value: Any) -> None:
    raise AttributeError(f"{name} of {type(self).__name__} cannot be set; make a new one")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise AttributeError(f"{name} of {type(self).__name__} cannot be deleted")


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in _fields(type(self))]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, content in zip(_fields(type(self)), state, strict=True):
        object.__setattr__(self, each.name, content)


Buffer = bytes | bytearray | memoryview
