"""`make infra` goes red on what the compiler lets pass: a misspelt property is only a warning to it."""

import shutil
from pathlib import Path

import pytest

from cli.bicep import INFRA, MISSING, changed, diagnostics, found, unformatted
from tests.infra.snapshot import ENVIRONMENTS

with_compiler = pytest.mark.skipif(shutil.which("bicep") is None, reason="there is no bicep on the PATH")


@pytest.fixture
def infra(tmp_path: Path) -> Path:
    return Path(shutil.copytree(INFRA, tmp_path / "infra"))


def put(infra: Path, name: str, old: str, new: str) -> None:
    text = (infra / name).read_text("utf-8")
    assert text.count(old) == 1
    (infra / name).write_text(text.replace(old, new), "utf-8")


@pytest.mark.long
@with_compiler
def test_nothing_is_said_of_what_is_checked_in() -> None:
    assert found(INFRA) == []


@pytest.mark.long
@with_compiler
def test_whatever_the_compiler_says_is_told(infra: Path) -> None:
    wrong = {  # a misspelt property, a wrong type, a parameter that nobody reads
        "enablePurgeProtection: true": ("enablePurgeProtektion: true", '"enablePurgeProtektion" is not allowed'),
        "softDeleteRetentionInDays: 90": ("softDeleteRetentionInDays: 'ninety'", "'ninety'"),
        "param tags object\n": ("param tags object\nparam other string\n", '"other" is declared but never used'),
    }
    for old, (new, _) in wrong.items():
        put(infra, "modules/keyvault.bicep", old, new)
    lines = [line for line in diagnostics(infra) if line.startswith("modules/keyvault.bicep:")]
    assert len(lines) == len(wrong)
    assert [told for _, told in wrong.values() if not any(told in line for line in lines)] == []


@with_compiler
def test_a_file_that_is_not_formatted_is_told(infra: Path) -> None:
    put(infra, "modules/identity.bicep", "  location: location\n", "    location:   location\n")
    assert list(unformatted(infra)) == ["modules/identity.bicep: not as `bicep format` would write it"]


@pytest.mark.long
@with_compiler
def test_a_change_of_what_would_be_deployed_is_told_with_its_difference(infra: Path) -> None:
    put(infra, "modules/keyvault.bicep", "softDeleteRetentionInDays: 90", "softDeleteRetentionInDays: 7")
    lines = list(changed(infra))
    assert [line.partition(":")[0] for line in lines] == [
        f"environments/{name}.bicepparam" for name in sorted(ENVIRONMENTS)
    ]
    assert all("softDeleteRetentionInDays" in line for line in lines)


def test_without_a_compiler_it_says_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="az bicep install"):
        found(INFRA)
    assert "PATH" in MISSING
