"""The units of systemd and the configuration in `deploy/`: what they call exists, and what they promise fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnet.archive.applied import is_guarded
from dicomnet.cli.main import TERMINATED
from dicomnet.settings.reading import read

from .written import DEPLOY, parsed, unit

SERVICE = DEPLOY / "dicomnet.service"
SERVICES = sorted(DEPLOY.glob("*.service"))
CONFIGURATION = "/etc/dicomnet/dicomnet.toml"


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_the_commands_of_a_unit_are_real(path: Path) -> None:
    service = unit(path)["Service"]
    lines = [
        line for key in ("ExecStart", "ExecReload") for line in service.get(key, ()) if "dicomnet" in line
    ]
    assert lines
    for line in lines:
        assert line.startswith("/opt/dicomnet/bin/dicomnet ")
        _, options = parsed(line)
        assert str(options.config) == CONFIGURATION


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_unit_may_write_where_it_has_to(path: Path) -> None:
    sections = unit(path)
    service = sections["Service"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["User"] == ["dicomnet"]
    folder = read(DEPLOY / "dicomnet.toml", {})["storage.folder"]
    writable = [each.removeprefix("-") for line in service["ReadWritePaths"] for each in line.split()]
    writable += [f"/var/lib/{each}" for each in service.get("StateDirectory", ())]
    assert str(folder.parent) in writable
    # The node itself takes the backup.
    _, options = parsed(unit(DEPLOY / "dicomnet-backup.service")["Service"]["ExecStart"][0])
    assert str(options.folder) in writable


def test_a_timer_is_that_of_a_service() -> None:
    timers = sorted(DEPLOY.glob("*.timer"))
    assert [path.stem for path in timers] == ["dicomnet-backup", "dicomnet-check"]
    for path in timers:
        assert unit(path)["Timer"]["OnCalendar"]
        assert unit(path.with_suffix(".service"))["Service"]["Type"] == ["oneshot"]


def test_the_unit_waits_as_long_as_associations_may_drain() -> None:
    service = unit(SERVICE)["Service"]
    settings = read(DEPLOY / "dicomnet.toml", {})
    assert int(service["TimeoutStopSec"][0]) >= settings["server.drain"] + 30
    # Associations of all that there may be, and a file for each.
    assert int(service["LimitNOFILE"][0]) >= 4 * settings["limits.associations"]


def test_the_configuration_lets_nobody_in_who_proves_nothing() -> None:
    """It is also right in each key: reading it raises where one is not."""
    assert is_guarded(read(DEPLOY / "dicomnet.toml", {}))


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_a_unit_that_is_stopped_early_has_not_failed(path: Path) -> None:
    """A command that SIGTERM ends has a status of its own, where it was killed by the signal before."""
    assert unit(path)["Service"]["SuccessExitStatus"] == [str(TERMINATED)]
