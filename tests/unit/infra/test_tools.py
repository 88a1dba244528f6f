"""Which tools there are, by what their places in the cache are named, and what Go is asked for."""

from pathlib import Path

import pytest

from infra.tools.cache import MODULES, cache_folder, survey
from infra.tools.go import GoMustBeInstalledError, find_toolchain
from infra.tools.pins import FAMILIES, Family, Tool
from infra.tools.planning import (
    PinMustBeKnownError,
    Toolchain,
    ToolMustBeKnownError,
    build_command,
    content_hash,
    downloaded_module,
    go_version_min,
    is_new_enough,
    is_package,
    linker_flags,
    missing,
    named_families,
    tail,
    version_of,
)

GO = Toolchain(version="go1.26.8", system="linux/amd64")
PARCEL = Family(
    folder="parcel",
    module="example.org/parcel/v2",
    tools=(Tool(name="parcel", package="example.org/parcel/v2/cmd/parcel"),),
    stamps=("example.org/parcel/v2/version.Name={version}", "example.org/parcel/v2/version.Minor={minor}"),
)
GO_MOD = """module cellwallet.local/tools/parcel

go 1.25.11

tool example.org/parcel/v2/cmd/parcel

require (
	example.org/parcel/v2/api v2.9.9 // indirect
	example.org/parcel/v2 v2.31.4 // indirect
)
"""


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.folder)
def test_every_family_has_a_module_that_pins_it_and_names_its_packages(family: Family) -> None:
    go_mod = (MODULES / family.folder / "go.mod").read_text()
    assert linker_flags(family, version_of(family, go_mod))
    assert go_version_min(go_mod) >= (1, 24)
    sums = (MODULES / family.folder / "go.sum").read_text()
    assert f"{family.module} {version_of(family, go_mod)} h1:" in sums
    for tool in family.tools:
        assert tool.package in go_mod.partition("\nrequire")[0], "a `tool` line keeps it from being tidied away"


def test_every_module_beside_the_pins_is_a_family() -> None:
    assert {path.parent.name for path in MODULES.glob("*/go.mod")} == {family.folder for family in FAMILIES}


def test_kubernetes_is_replaced_by_staging_modules_of_its_own_version_and_by_nothing_else() -> None:
    go_mod = (MODULES / "kubernetes" / "go.mod").read_text()
    version = version_of(next(family for family in FAMILIES if family.folder == "kubernetes"), go_mod)
    replaced = [line.split() for line in go_mod.splitlines() if line.startswith("replace ")]
    assert len(replaced) > 30
    for _, before, _, after, replacement in replaced:
        assert before == after
        assert replacement == version.replace("v1.", "v0.")


def test_what_programs_share_with_the_control_plane_is_of_its_release() -> None:
    """A KWOK, Helm or plugin built on a later release would speak of fields that this server does not know."""
    releases = {
        line.split()[1].rpartition(".")[0]
        for folder in ("kwok", "helm", "cnpg")
        for line in (MODULES / folder / "go.mod").read_text().splitlines()
        if line.strip().startswith("k8s.io/client-go ")
    }
    kubernetes = (MODULES / "kubernetes" / "go.mod").read_text()
    assert len(releases) == 1
    assert f"=> k8s.io/client-go {releases.pop()}." in kubernetes


def test_the_version_is_that_of_the_module_and_of_none_whose_name_begins_alike() -> None:
    assert version_of(PARCEL, GO_MOD) == "v2.31.4"


def test_a_module_without_the_pin_is_refused_by_name() -> None:
    with pytest.raises(PinMustBeKnownError, match=r"parcel/go\.mod must require example\.org/parcel/v2"):
        version_of(PARCEL, "module cellwallet.local/tools/parcel\n")


def test_a_commit_is_no_release_to_stamp() -> None:
    with pytest.raises(PinMustBeKnownError, match="must be pinned to a release"):
        linker_flags(PARCEL, "0123abc")


def test_stamps_carry_the_version() -> None:
    expected = "-s -w -X example.org/parcel/v2/version.Name=v2.31.4 -X example.org/parcel/v2/version.Minor=31"
    assert linker_flags(PARCEL, "v2.31.4") == expected


@pytest.mark.parametrize(
    ("change", "sources", "toolchain"),
    [
        ("a sum", {"go.mod": b"a", "go.sum": b"c"}, GO),
        ("a file more", {"go.mod": b"a", "go.sum": b"b", "main.go": b""}, GO),
        ("a byte that changes sides", {"go.mod": b"ab", "go.sum": b""}, GO),
        ("Go", {"go.mod": b"a", "go.sum": b"b"}, Toolchain(version="go1.26.9", system="linux/amd64")),
        ("the machine", {"go.mod": b"a", "go.sum": b"b"}, Toolchain(version="go1.26.8", system="linux/arm64")),
    ],
)
def test_whatever_goes_into_a_binary_changes_its_place(
    change: str, sources: dict[str, bytes], toolchain: Toolchain
) -> None:
    before = content_hash(PARCEL, {"go.mod": b"a", "go.sum": b"b"}, GO)
    assert content_hash(PARCEL, sources, toolchain) != before, change


def test_stamps_change_the_place_and_the_order_of_files_does_not() -> None:
    unstamped = Family(folder=PARCEL.folder, module=PARCEL.module, tools=PARCEL.tools)
    sources = {"go.mod": b"a", "go.sum": b"b"}
    assert content_hash(unstamped, sources, GO) != content_hash(PARCEL, sources, GO)
    assert content_hash(PARCEL, dict(reversed(sources.items())), GO) == content_hash(PARCEL, sources, GO)


def test_names_choose_in_the_order_of_building() -> None:
    chosen = named_families(["helm", "etcd"])
    assert [tool.name for _, tool in chosen] == ["etcd", "helm"]
    assert len(named_families([])) == sum(len(family.tools) for family in FAMILIES)


def test_no_two_tools_have_one_name() -> None:
    names = [tool.name for _, tool in named_families([])]
    assert len(names) == len(set(names))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ToolMustBeKnownError, match=r"no such tool: kubelet; there are etcd, kube-apiserver"):
        named_families(["kubelet", "etcd"])


@pytest.mark.parametrize(
    ("version", "is_enough"),
    [
        ("go1.25.11", True),
        ("go1.26", True),
        ("go1.26rc1", True),
        ("go1.26.8", True),
        ("go1.25.10", False),
        ("go1.9", False),
        ("devel", False),
    ],
)
def test_go_must_be_as_new_as_the_module_says(version: str, *, is_enough: bool) -> None:
    assert is_new_enough(Toolchain(version=version, system="linux/amd64"), go_version_min(GO_MOD)) is is_enough


def test_a_survey_finds_what_is_there_and_only_that(tmp_path: Path) -> None:
    wanted = named_families(["etcd", "kube-apiserver", "kube-scheduler"])
    steps = survey(wanted, toolchain=GO, root=tmp_path)
    assert missing(steps) == steps
    assert not list(tmp_path.iterdir()), "looking makes nothing"
    steps[1].file.parent.mkdir(parents=True)
    steps[1].file.write_bytes(b"")
    again = survey(wanted, toolchain=GO, root=tmp_path)
    assert [step.is_built for step in again] == [False, True, False]
    assert again[1].file.parent == again[2].file.parent, "a family shares a folder"


def test_a_go_that_is_too_old_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    old = Toolchain(version="go1.22.1", system="linux/amd64")
    with pytest.raises(GoMustBeInstalledError, match=r"etcd needs go 1\.25\.0 or later; installed is go1\.22\.1"):
        survey(named_families(["etcd"]), toolchain=old, root=tmp_path)


def test_without_go_the_word_is_clear(tmp_path: Path) -> None:
    with pytest.raises(GoMustBeInstalledError, match="go must be installed and on the PATH"):
        find_toolchain({"PATH": str(tmp_path)})


def test_a_go_that_does_not_answer_is_not_usable(tmp_path: Path) -> None:
    broken = tmp_path / "go"
    broken.write_text("#!/bin/sh\necho 'no such subcommand' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(GoMustBeInstalledError, match="no such subcommand"):
        find_toolchain({"PATH": str(tmp_path)})


def test_the_cache_is_where_the_user_has_caches() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/elsewhere"}) == Path("/elsewhere/cellwallet/infra-tools")
    assert cache_folder({}) == Path.home() / ".cache/cellwallet/infra-tools"


def test_the_build_checks_sums_and_never_changes_a_module() -> None:
    step = survey(named_families(["helm"]), toolchain=GO, root=Path("/nowhere"))[0]
    command = build_command(step, Path("/work/helm"))
    assert "-mod=readonly" in command
    assert command[-3:] == ["-o", "/work/helm", "helm.sh/helm/v4/cmd/helm"]


def test_what_go_says_is_told_apart() -> None:
    said = [
        "go: downloading golang.org/x/net v0.55.0",
        "golang.org/x/net/http2",
        "# example.org/parcel/v2/cmd/parcel",
        "cmd/main.go:7:2: undefined: letter",
    ]
    assert [is_package(line) for line in said] == [False, True, False, False]
    assert [downloaded_module(line) for line in said] == ["golang.org/x/net v0.55.0", None, None, None]
    assert tail(said, 20) == said[2:]
    assert tail(said, 1) == said[3:]
