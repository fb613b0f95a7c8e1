"""What the documents say is what there is."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from cli.welcome import LINES
from function_app import own_core
from functions.claims.asking import SIGNATURE, TIMESTAMP
from shared.http.addresses import client_address
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = {name: (ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")}
OF_CORE_TOOLS = {"functions_worker_runtime", "azurewebjobsstorage"}


def documented() -> dict[str, tuple[str, str]]:
    """Setting in lower case -> what `docs/settings.md` says is its default, and its meaning."""
    text = (ROOT / "docs/settings.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    return {name.lower(): (default, meaning) for name, default, meaning in rows}


def default(name: str) -> str:
    if name == "flowgrid_issuers":
        return "the local issuer"
    value = Settings.model_fields[name].default
    return "(empty)" if value in ("", ()) else f"`{value}`"


def test_every_setting_is_documented_with_its_default_and_what_it_means() -> None:
    assert documented() == {name: (default(name), field.description) for name, field in Settings.model_fields.items()}


def test_the_number_of_proxies_is_right_for_every_way_that_a_call_may_take() -> None:
    ways = re.findall(r"^\| ([^|]+) \| (\d) \|$", (ROOT / "docs/settings.md").read_text("utf-8"), re.MULTILINE)
    assert len(ways) >= 5
    for way, number in ways:
        seen, peer = ["6.6.6.6"], "198.51.100.7"  # what the caller has made up, and the caller
        for hop, _ in enumerate(way.split("→")):
            seen.append(peer)
            peer = f"10.0.0.{hop}:4711"
        assert client_address(", ".join(seen), int(number)) == "198.51.100.7", way


def test_the_sample_settings_name_every_setting_and_pass_the_check() -> None:
    values = json.loads((ROOT / "local.settings.sample.json").read_text("utf-8"))["Values"]
    assert {name.lower() for name in values} - OF_CORE_TOOLS == set(Settings.model_fields)
    Settings.load(values)


def test_the_host_settings_are_of_the_version_that_core_tools_reads() -> None:
    host = json.loads((ROOT / "host.json").read_text("utf-8"))
    assert host["version"] == "2.0"
    assert host["extensions"]["http"]["routePrefix"] == "api"
    assert host["extensionBundle"]["id"] == "Microsoft.Azure.Functions.ExtensionBundle"


@pytest.mark.parametrize("guide", GUIDES)
def test_every_make_target_that_is_named_exists(guide: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", GUIDES[guide], re.MULTILINE))
    assert named
    assert named <= targets


@pytest.mark.parametrize("guide", GUIDES)
def test_every_file_and_decision_that_is_named_is_there(guide: str) -> None:
    text = GUIDES[guide]
    named = set(re.findall(r"\b(?:tests|shared|functions|cli|docs|bench|local)/[\w./-]*\w", text))
    named |= set(re.findall(r"\]\(([^)#]+)\)", text))
    missing = [name for name in named if not list(ROOT.glob(f"{name}*")) and "://" not in name]
    assert missing == []


@pytest.mark.parametrize("text", [README, LINES], ids=["README", "welcome"])
def test_every_path_that_is_called_exists(text: str) -> None:
    paths = {route.path.removeprefix("v1/") for route in own_core.endpoint.routes}
    called = {path.partition("?")[0] for path in re.findall(r'\$API/([^\s"]+)', text)}
    assert called
    assert {re.sub(r"/\$\w+", "/{}", path) for path in called} <= {re.sub(r"{\w+}", "{}", path) for path in paths}


@pytest.mark.parametrize("text", [README, LINES], ids=["README", "welcome"])
def test_every_file_that_is_sent_exists(text: str) -> None:
    sent = re.findall(r"--data-binary @(\S+)", text)
    assert sent
    assert [file for file in sent if not (ROOT / file).is_file()] == []


def test_every_decision_is_numbered_once_and_has_its_three_parts() -> None:
    files = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    for file in files:
        text = file.read_text("utf-8")
        assert text.startswith(f"# {file.name[:4]} ")
        assert "**Context.**" in text
        assert "**Decision.**" in text


def test_the_drawing_of_the_rooms_has_every_room() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (layers,) = [one["layers"] for one in settings["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]
    drawn = (ROOT / "docs/architecture.md").read_text("utf-8").split("```")[1]
    rooms = [room for layer in layers[:-1] for room in layer.split(" | ")]
    assert [room for room in rooms if not re.search(rf"\b{room}\b", drawn)] == []


def test_the_changelog_has_a_place_for_what_comes_next() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_guide_to_sign_in_has_settings_that_pass_the_check() -> None:
    text = (ROOT / "docs/sign-in.md").read_text("utf-8").replace("<", "").replace(">", "").replace(" id", "-id")
    found = re.findall(r"^(FLOWGRID_\w+) = (\[.*?\])$", text, re.MULTILINE | re.DOTALL)
    pairs = [dict(found[number : number + 2]) for number in range(0, len(found), 2)]
    providers = [Settings.load(pair).flowgrid_claims[0].provider for pair in pairs]
    assert providers == ["entra", "b2c", "auth0"]


def test_the_action_of_the_guide_sends_the_headers_that_are_read() -> None:
    text = (ROOT / "docs/sign-in.md").read_text("utf-8")
    assert {f'"{SIGNATURE}": signature', f'"{TIMESTAMP}": at'} <= {line.strip(" ,") for line in text.splitlines()}
