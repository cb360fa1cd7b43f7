"""The project's own files agree with each other: versions, and what the README says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import ranvier
from programs import HANGING

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def setting(pattern: str, file: str) -> str:
    found = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{file}: nothing matches {pattern}"
    return found[1]


def test_every_file_has_the_same_version() -> None:
    version = setting(r'^version = "(.+)"$', "pyproject.toml")
    assert setting(r"^project\(ranvier VERSION (\S+)", "CMakeLists.txt") == version
    assert setting(r"^## \[(.+?)\]", "CHANGELOG.md") == version
    assert ranvier.__version__ == version


@pytest.mark.parametrize("number", range(len(code_blocks("python"))))
def test_readme_example_runs(number: int, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", code_blocks("python")[number]], cwd=tmp_path, check=True, timeout=HANGING)


def test_readme_names_commands_that_exist() -> None:
    named = set(re.findall(r"(?:^|`|&& )ranvier ([a-z]+)", README, re.MULTILINE))
    assert named, "the README names no command"
    for command in named:
        subprocess.run([sys.executable, "-m", "ranvier", command, "--help"], check=True, stdout=subprocess.PIPE)


def test_readme_installs_extras_that_exist() -> None:
    extras = set(re.findall(r"pip install '\.\[(\w+)\]'", README))
    for extra in extras:
        setting(rf"^({extra}) = \[", "pyproject.toml")


def test_ci_runs_the_commands_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip(".ci is not part of a source distribution")
    text = script.read_text(encoding="utf-8")
    for line in code_blocks("sh")[0].splitlines() + code_blocks("sh")[1].splitlines():
        for command in line.split(" && "):
            assert shlex.split(command)[0] in {"pip", "ranvier", "pytest"}
            assert command in text, f".ci/run lacks {command!r}"


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
