"""Settings: their sources, invalid values, and that each is documented."""

import re
from pathlib import Path

import pytest

from headrace.config import SETTINGS, SettingError, flag, load_settings, variable
from headrace.domain.access.policies import BOUNDS, DEFAULTS, NAMES, UNITS

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]


def rows() -> dict[str, list[str]]:
    """Rows of all tables of the document, by their first cell."""
    lines = DOCUMENT.read_text("utf-8").splitlines()
    return {row[0]: row for row in map(cells, (line for line in lines if line.startswith("|")))}


def test_defaults_are_those_of_the_table() -> None:
    settings = load_settings({}, {})
    assert all(getattr(settings, setting.name) == setting.default for setting in SETTINGS)


def test_a_flag_wins_over_a_variable_and_that_over_the_default() -> None:
    environ = {"HEADRACE_PORT": "9000", "HEADRACE_HOST": "::1", "PATH": "/bin"}
    settings = load_settings({"port": 9001, "host": None}, environ)
    assert (settings.port, settings.host) == (9001, "::1")


def test_a_secret_can_be_kept_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("hr_key\n", "ascii")
    assert load_settings({}, {"HEADRACE_KEY_FILE": str(file)}).key == "hr_key"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"HEADRACE_PRT": "1"}, "HEADRACE_PRT is not a setting of headrace; known: "),
        ({"HEADRACE_PRT_FILE": "x"}, "HEADRACE_PRT_FILE is not a setting"),
        ({"HEADRACE_KEY": "a", "HEADRACE_KEY_FILE": "b"}, "are both set; keep one"),
        ({"HEADRACE_KEY_FILE": "/nowhere/key"}, "cannot be read: No such file"),
        (
            {"HEADRACE_PORT": "eighty"},
            "--port (HEADRACE_PORT) must be a whole number",
        ),
        ({"HEADRACE_PORT": ""}, "must be a whole number, got ''"),
        ({"HEADRACE_PORT": "-1"}, "must be at least 0 and at most 65535, got -1"),
        ({"HEADRACE_PORT": "65536"}, "must be at least 0 and at most 65535, got 65536"),
        ({"HEADRACE_DISK_FREE_MIN_BYTES": "-1"}, "must be at least 0, got -1"),
    ],
)
def test_unusable_settings_are_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SettingError, match=re.escape(said)):
        load_settings({}, environ)


def test_binary_secret_file_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingError, match="it is no text in UTF-8"):
        load_settings({}, {"HEADRACE_KEY_FILE": str(file)})


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_documented_with_its_default(setting: object) -> None:
    known = next(each for each in SETTINGS if each is setting)
    row = rows()[flag(known)]
    kind = "integer" if known.type is int else "text"
    default = str(known.default) if known.default != "" else "empty"
    assert row[1:5] == [variable(known), kind, default, known.help]


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_is_documented_with_its_bounds(name: str) -> None:
    row = rows()[name]
    default = getattr(DEFAULTS, name)
    shown = {None: "none", True: "true"}.get(
        default, f"{default:g}" if name in BOUNDS and default else str(default)
    )
    bounds = "{:g} to {:.10g}".format(*BOUNDS[name]) if name in BOUNDS else UNITS[name]
    assert row[1] == shown
    assert row[2] == bounds
    assert row[3] == (UNITS[name] if name in BOUNDS else "")
