"""Grids of small cases as one test each: thousands of tests would take longer to report than to run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

Test = Callable[..., None]


def grid(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[[Test], Test]:
    """Run a test for each of some cases, as ``pytest.mark.parametrize``, and report all that fail together.

    Parameters
    ----------
    names
        Of the parameters that a case has values for.
    cases
        A value each, or a tuple of values.
    """
    parameters = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    rows = [case if len(parameters) > 1 else (case,) for case in cases]

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(**fixtures: Any) -> None:
            failures: list[Exception] = []
            for row in rows:
                values = dict(zip(parameters, row, strict=True))
                try:
                    test(**values, **fixtures)
                except Exception as error:  # noqa: BLE001
                    error.add_note(f"with {values!r}")
                    failures.append(error)
            if failures:
                raise ExceptionGroup(f"{len(failures)} of {len(rows)} cases", failures)

        signature = inspect.signature(test)
        own = [each for each in signature.parameters.values() if each.name not in parameters]
        run.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        assert rows, "a grid without cases proves nothing"
        return run

    return decorate
