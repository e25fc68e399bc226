"""The project resolves from the public index on every supported platform."""

from __future__ import annotations

import re
import tomllib
from itertools import chain

import pytest
from resolution import EXTRAS, PLATFORMS, PYTHONS, ROOT, constraints, project, resolutions

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[^\]]*\])?(>=(?P<floor>[\d.]+))?(?P<marker>; .*)?")


def requirements() -> list[str]:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    extras = project()["optional-dependencies"].values()  # type: ignore[attr-defined]
    return [*build, *chain(project()["dependencies"], *extras)]  # type: ignore[arg-type]


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


@pytest.mark.parametrize("requirement", sorted(set(requirements()) - {"digan_fast[bench,test]"}))
def test_every_requirement_has_a_floor_and_a_pin_not_below_it(requirement: str) -> None:
    match = REQUIREMENT.fullmatch(requirement)
    assert match is not None
    assert match["floor"], "no floor"
    assert number(constraints()[match["name"].lower()]) >= number(match["floor"])


@pytest.mark.packaging
@pytest.mark.parametrize("constrained", [False, True], ids=["newest", "constraints"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_extra_resolves_for_every_python(platform: str, constrained: bool) -> None:
    found = resolutions(platform, constrained)
    assert len(found) == len(PYTHONS) * len(EXTRAS)
    failed = [f"{one.python} {one.extras}: {one.error}" for one in found if not one.versions]
    assert not failed, "\n".join(failed)
    for one in found:
        assert one.versions.get("triton") is None or platform.startswith("Linux")
        if constrained:
            pins = constraints()
            assert {name: pins[name] for name in one.versions if name in pins}.items() <= one.versions.items()
