"""The documented names of pynetdicom 3.0.4 against ours, by introspection: names, parameters, properties, defaults."""

from __future__ import annotations

import enum
import inspect
import re
import threading
from collections.abc import Iterator
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import Any

import pynetdicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from tests.grids import grid

import dicomnet
from dicomnet.pynetdicom.association import Association

MODULES = {
    name: name
    for name in (
        "_config",
        "_globals",
        "ae",
        "association",
        "dimse_messages",
        "dimse_primitives",
        "dsutils",
        "events",
        "pdu",
        "pdu_items",
        "pdu_primitives",
        "presentation",
        "service_class",
        "service_class_n",
        "sop_class",
        "status",
        "transport",
        "utils",
    )
} | {"acse": "providers", "dimse": "providers", "dul": "providers"}
"""Modules of pynetdicom, and ours that have their names."""

_INTERNAL = "how it works inside, which is different here"
_ANNOTATION = "for annotations only"
_SERVER = "of socketserver, which serves no connection here"
_VIEW = "a view says what went over the wire; what is to be sent is built of pdu_primitives"
_VALUE = "our own value"

LEFT_OUT = {
    r"\.__init__": {
        r"association\.Association": _INTERNAL,
        r"transport\.(AddressInformation|AssociationServer|ThreadedAssociationServer)": _INTERNAL,
        r"service_class(_n)?\.\w+": "a type to name a service class by, which is not made",
        r"pdu\.PDU|pdu_items\.PDUItem|pdu\.A_RELEASE_R[QP]": _ANNOTATION,
    },
    r"": {
        r"\w+\.(TYPE_CHECKING|Dimse\w+Type|PACK_\w+|UNPACK_\w+)": _ANNOTATION,
        r"(association|service_class(_n)?)\.[A-Z]+(_[A-Z]+)+": "lives in _globals or status",
        r"association\.(RepositoryQuery|UnifiedProcedureStep\w+|Verification)": "a SOP class that is imported there",
        r"\w+\.(DEFAULT_MAX_LENGTH|MODE_ACCEPTOR|MODE_REQUESTOR|APPLICATION_CONTEXT_NAME)": "lives in _globals",
        r"dsutils\.PYNETDICOM_IMPLEMENTATION_VERSION": "lives in the package",
        r"utils\.HAVE_CTYPES": _INTERNAL,
        r"association\.Association\.(request|run|run_reactor|set_socket|start)": _INTERNAL,
        r"association\.Association\.(getName|setName|isDaemon|setDaemon)": "deprecated by Python itself",
        r"association\.Association\.(daemon|mode)": "is what it is, and is not set",
        r"transport\.\w*AssociationServer\.ssl_context": "an attribute of each object here",
        r"presentation\.([A-Z]+_)+[A-Z]+": _INTERNAL,
        r"presentation\.negotiate_\w+": "not documented there; upper_layer.negotiation here",
        r"acse\.ACSE\.(negotiate_\w+|send_accept|send_request|dul|socket)": _INTERNAL,
        r"dimse\.DIMSEServiceProvider\.(dul|get_msg|peek_msg|receive_primitive)": _INTERNAL,
        r"dul\.DULServiceProvider\.(idle_timer_expired|peek_next_pdu|receive_pdu|run_reactor|send_pdu)": _INTERNAL,
        r"dul\.DULServiceProvider\.(daemon|getName|ident|isDaemon|join|name|native_id|run)": _INTERNAL,
        r"dul\.DULServiceProvider\.(setDaemon|setName|start)": _INTERNAL,
        r"service_class(_n)?\.\w+\.(SCP|ae|dimse|is_cancelled|is_valid_status|validate_status)": _INTERNAL,
        r"service_class(_n)?\.attempt": _INTERNAL,
        r"transport\.(T_CONNECT|RequestHandler|AssociationSocket)": _INTERNAL,
        r"transport\.\w*AssociationServer\.(address_family|allow_reuse_\w+|close_request|timeout)": _SERVER,
        r"transport\.\w*AssociationServer\.(get_request|handle_\w+|process_request\w*|request_queue_size)": _SERVER,
        r"transport\.\w*AssociationServer\.(fileno|finish_request|socket_type|server_activate)": _SERVER,
        r"transport\.\w*AssociationServer\.(server_bind|service_actions|shutdown_request)": _SERVER,
        r"transport\.\w*AssociationServer\.(block_on_close|daemon_threads|verify_request)": _SERVER,
    },
}
"""What is not compared, by what follows the name of a class, with the reason."""
OTHER_DEFAULTS = {
    "ae.ApplicationEntity.__init__": _VALUE,
    "dsutils.create_file_meta": _VALUE,
}
READ_ONLY_HERE = re.compile(r"pdu_items\.|pdu\.")
OWN_VALUES = {
    "ApplicationEntity": {"ae_title", "implementation_class_uid", "implementation_version_name"},
    "ServiceUser": {"implementation_class_uid"},
}
WORDS = {"status", "result_str", "source_str", "reason_str", "id_type_str", "description"}


def reason_to_leave_out(name: str) -> str | None:
    """Why a name is not compared."""
    for suffix, names in LEFT_OUT.items():
        for pattern, reason in names.items():
            if re.fullmatch(f"(?:{pattern}){suffix}", name):
                return reason
    return None


def public_names(module: ModuleType) -> Iterator[str]:
    """What a module of pynetdicom defines."""
    for name, value in vars(module).items():
        home = getattr(value, "__module__", None) or module.__name__
        is_constant = not callable(value) and not isinstance(value, UID)
        if name.startswith("_") or isinstance(value, ModuleType) or not home.startswith("pynetdicom"):
            continue
        if home == module.__name__ or (is_constant and module.__name__ != "pynetdicom.sop_class"):
            yield name


def members(cls: type) -> Iterator[str]:
    """The public members of a class, its constructor among them."""
    for base in cls.__mro__:
        if base is not object and base.__module__.split(".")[0] in (
            "pynetdicom",
            "socketserver",
            "threading",
        ):
            yield from (name for name in vars(base) if not name.startswith("_"))
    yield "__init__"


def parameters(value: Any) -> list[inspect.Parameter]:
    return [
        each
        for each in inspect.signature(value).parameters.values()
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) and each.name != "self"
    ]


def compare_callable(name: str, ours: Any, theirs: Any) -> Iterator[str]:
    """How a call that pynetdicom takes would fail here."""
    if "__init__" in name and inspect.signature(theirs) == inspect.signature(object.__init__):
        return
    mine = {each.name: each for each in parameters(ours)}
    for at, other in enumerate(parameters(theirs)):
        own = mine.pop(other.name, None)
        if own is None:
            yield f"{name} has no parameter {other.name}"
        elif own.kind is not other.kind and own.kind is not own.POSITIONAL_OR_KEYWORD:
            yield f"{name}: {other.name} is {own.kind.name}"
        elif (
            other.kind is other.POSITIONAL_OR_KEYWORD
            and [each.name for each in parameters(ours)][at] != own.name
        ):
            yield f"{name}: {other.name} is in another place"
        elif name not in OTHER_DEFAULTS and own.default != other.default:
            yield f"{name}: {other.name}={own.default!r}, not {other.default!r}"
    for own in mine.values():
        if own.default is own.empty:
            yield f"{name} needs {own.name}"


def compare_class(name: str, ours: type, theirs: type) -> Iterator[str]:
    for member in dict.fromkeys(members(theirs)):
        path = f"{name}.{member}"
        if reason_to_leave_out(path):
            continue
        other = inspect.getattr_static(theirs, member)
        if not hasattr(ours, member):
            yield f"{path} is missing"
            continue
        own = inspect.getattr_static(ours, member)
        if isinstance(other, property):
            if (
                other.fset is not None
                and isinstance(own, property)
                and own.fset is None
                and not READ_ONLY_HERE.match(path)
            ):
                yield f"{path} cannot be set"
        elif callable(getattr(theirs, member)):
            yield from compare_callable(path, getattr(ours, member), getattr(theirs, member))


def compare_module(name: str) -> Iterator[str]:
    theirs, ours = import_module(f"pynetdicom.{name}"), import_module(f"dicomnet.pynetdicom.{MODULES[name]}")
    for each in public_names(theirs):
        path = f"{name}.{each}"
        if reason_to_leave_out(path):
            continue
        if not hasattr(ours, each):
            yield f"{path} is missing"
            continue
        own, other = getattr(ours, each), getattr(theirs, each)
        if inspect.isclass(other):
            if issubclass(other, enum.Enum) or issubclass(other, str):
                continue
            yield from compare_class(path, own, other)
        elif inspect.isfunction(other):
            yield from compare_callable(path, own, other)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_the_names_of_pynetdicoms(name: str) -> None:
    assert list(compare_module(name)) == []


def test_the_package_has_the_names_of_pynetdicoms() -> None:
    for name in [*pynetdicom.__all__, "Association", "evt", "_config"]:
        assert hasattr(dicomnet, name), name
    for name in ("debug_logger", "build_context", "build_role", "register_uid"):
        assert list(compare_callable(name, getattr(dicomnet, name), getattr(pynetdicom, name))) == []


CONSTANTS = ("_globals",)


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_have_the_values_of_pynetdicoms(name: str) -> None:
    theirs, ours = import_module(f"pynetdicom.{name}"), import_module(f"dicomnet.pynetdicom.{name}")
    for each in public_names(theirs):
        assert getattr(ours, each) == getattr(theirs, each), each


def test_the_flags_have_the_defaults_of_pynetdicoms() -> None:
    flags = [name for name in vars(pynetdicom._config) if name.isupper()]
    assert len([name for name in flags if name != "VALIDATORS"]) == 11
    for name in flags:
        if name != "VALIDATORS":
            assert getattr(dicomnet._config, name) == getattr(pynetdicom._config, name), name
    assert set(dicomnet._config.VALIDATORS) == set(pynetdicom._config.VALIDATORS)


def test_a_server_has_the_attributes_of_pynetdicoms() -> None:
    servers = []
    for ae in (dicomnet.AE(), pynetdicom.AE()):
        ae.add_supported_context("1.2.840.10008.1.1")
        servers.append(ae.make_server(("127.0.0.1", 0)))
    ours, theirs = servers
    try:
        for name in vars(theirs):
            left_out = (
                reason_to_leave_out(f"transport.AssociationServer.{name}") or name == "RequestHandlerClass"
            )
            assert name.startswith("_") or left_out or hasattr(ours, name), name
        assert ours.socket is not None
        assert ours.socket.getsockname() == ours.server_address == ours.address_info.as_tuple
    finally:
        for server in servers:
            server.server_close()


def fresh_objects() -> Iterator[tuple[str, Any, Any]]:
    yield "ApplicationEntity", dicomnet.AE(), pynetdicom.AE()
    for name in ("presentation", "pdu_primitives", "dimse_primitives", "dimse_messages"):
        theirs, ours = import_module(f"pynetdicom.{name}"), import_module(f"dicomnet.pynetdicom.{name}")
        for each in public_names(theirs):
            kind = getattr(theirs, each)
            if (
                inspect.isclass(kind)
                and not reason_to_leave_out(f"{name}.{each}")
                and not issubclass(kind, tuple)
            ):
                yield each, getattr(ours, each)(), kind()
    for mode in ("requestor", "acceptor"):
        mine = Association(dicomnet.AE(), mode, dicomnet.evt.Bindings())
        other = pynetdicom.association.Association(pynetdicom.AE(), mode)
        yield "Association", mine, other
        yield "ServiceUser", mine.requestor, other.requestor
        yield "ServiceUser", mine.acceptor, other.acceptor


def shown(value: Any) -> Any:
    """A value in terms that both libraries have."""
    if isinstance(value, list | tuple):
        return [shown(each) for each in value]
    if isinstance(value, dict):
        return {shown(key): shown(each) for key, each in value.items()}
    if isinstance(value, BytesIO):
        return value.getvalue()
    if isinstance(value, Dataset):
        return [(each.keyword, each.value) for each in value]
    home = type(value).__module__.split(".")[0]
    return (
        type(value).__name__ if home in ("dicomnet", "pynetdicom") and not isinstance(value, str) else value
    )


NOT_COMPARED = {
    "ServiceUser": {
        "requested_contexts",
        "supported_contexts",
    },  # the peer's are none here before negotiation
    "_RSP": {"command_set"},  # ours have the elements of PS3.7 Annex C too
    "Association": {
        "lock",
        "ident",
        "native_id",
        "name",
        "local",
        "remote",
        *vars(threading.Thread(target=print)),
    },
}


@grid(("name", "ours", "theirs"), list(fresh_objects()))
def test_a_fresh_object_has_the_values_of_pynetdicoms(name: str, ours: Any, theirs: Any) -> None:
    plain = (
        {each for each in vars(theirs) if not each.startswith("_")} if hasattr(theirs, "__dict__") else set()
    )
    properties = {
        each for each in dir(type(theirs)) if isinstance(inspect.getattr_static(type(theirs), each), property)
    }
    for each in sorted(plain | properties):
        home = type(theirs).__module__.split(".")[1]
        skipped = (
            NOT_COMPARED.get("_RSP" if name.endswith("_RSP") else name, set())
            | OWN_VALUES.get(name, set())
            | WORDS
            | {"encoded_command_set"}
        )
        if each.startswith("_") or each in skipped or reason_to_leave_out(f"{home}.{name}.{each}"):
            continue
        assert value_of(ours, each) == value_of(theirs, each), each


def value_of(view: Any, name: str) -> Any:
    try:
        return shown(getattr(view, name))
    except (ValueError, RuntimeError, IndexError) as error:
        return type(error).__name__


def test_what_is_left_out_is_there_to_be_left_out() -> None:
    """Each reason in the table applies to something that pynetdicom has."""
    names = set()
    for name in MODULES:
        module = import_module(f"pynetdicom.{name}")
        for each in vars(module):
            names.add(f"{name}.{each}")
            value = vars(module)[each]
            if inspect.isclass(value):
                names |= {f"{name}.{each}.{member}" for member in (*dir(value), "__init__")}
    for suffix, patterns in LEFT_OUT.items():
        for pattern in patterns:
            assert any(re.fullmatch(f"(?:{pattern}){suffix}", name) for name in names), pattern
