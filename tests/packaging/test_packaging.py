"""The project builds, installs and fails as setup.py describes, from the tree and from the sdist."""

import json
import re
import shutil
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from emulator.toolkit import find_nvcc, install_nvcc
from installs import GENERIC_ALONE, ROOT, build_wheel, copy_tree, environment, install, new_python, run, wheel_in

pytestmark = pytest.mark.packaging

EXT_SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
NATIVE_WORKS = """
import ctypes, json
import digan_fast, digan_fast.kernels
from digan_fast import _C
x, y = (ctypes.c_float * 6)(-3, -2, -1, 0, 1, 2), (ctypes.c_float * 6)()
bias = (ctypes.c_float * 2)(0, 1)
at = ctypes.addressof
_C.bias_act_cpu(out=at(y), x=at(x), bias=at(bias), outer=1, channels=2, inner=3, activation=1, number=0,
                alpha=0.0, gain=2.0, clamp=5.0, threads=2)
assert list(y) == [0, 0, 0, 2, 4, 5], list(y)
print(json.dumps({**_C.build_info(), "no_device": _C.cuda_info()["reason"], "file": _C.__file__,
                  "kernels": digan_fast.kernels.__file__}))
"""

PURE_WORKS = """
import digan_fast, digan_fast.kernels
from importlib.resources import files
try:
    import digan_fast._C
except ModuleNotFoundError:
    print((files("digan_fast") / "_native.txt").read_text())
"""


@pytest.fixture(scope="module")
def isolated(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist, and the wheel built from it, both with only the declared build requirements."""
    out = tmp_path_factory.mktemp("isolated")
    run(sys.executable, "-m", "build", "--outdir", out, tree, cwd=out, env=environment(CMAKE_ARGS=GENERIC_ALONE))
    return out


@pytest.fixture(scope="module")
def no_tools(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH without compilers."""
    return str(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="module")
def nvcc(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The installed nvcc, or PyPI's (300 MB)."""
    return str(find_nvcc() or install_nvcc(tmp_path_factory.mktemp("cuda"), environment()))


def contents(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def expected_contents(tree: Path) -> set[str]:
    package = tree / "digan_fast"
    names = {str(p.relative_to(tree)) for p in package.rglob("*.py")}
    names |= {str(p.relative_to(tree)) for p in (package / "assets").glob("*.safetensors")}
    names |= {str(p.relative_to(tree)) for p in (package / "assets").glob("*.json")}
    names |= {f"digan_fast/kernels/{p.name}" for p in (tree / "kernels").glob("*.py")}
    return names | {"digan_fast/py.typed", "digan_fast/_C.pyi"}


def test_wheel_holds_the_package_and_nothing_else(tree: Path, native_wheel: Path) -> None:
    built = {f"digan_fast/_C{EXT_SUFFIX}", "digan_fast/_native.txt"}  # the second records why CUDA was left out
    assert contents(native_wheel) == expected_contents(tree) | built


def test_wheel_from_sdist_equals_wheel_from_tree(isolated: Path, native_wheel: Path) -> None:
    wheel = wheel_in(isolated)
    assert wheel.name == native_wheel.name
    assert contents(wheel) == contents(native_wheel)


def test_sdist_holds_all_sources(tree: Path, isolated: Path) -> None:
    (sdist,) = isolated.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = [p for p in (tree / "csrc").rglob("*") if p.is_file()]
    sources += [*(tree / "kernels").rglob("*.py"), *(tree / "digan_fast").rglob("*.py")]
    missing = {str(p.relative_to(tree)) for p in sources} - names
    assert not missing
    assert names >= {"CMakeLists.txt", "LICENSE", "pyproject.toml", "setup.py"}
    assert not {name for name in names if name.endswith((".so", "_native.txt"))}


@pytest.mark.parametrize("origin", ["tree", "sdist"])
def test_native_wheel_works(origin: str, native_wheel: Path, isolated: Path, tmp_path: Path) -> None:
    python = new_python(tmp_path / "env")
    install(python, native_wheel if origin == "tree" else wheel_in(isolated), env=environment())
    info = json.loads(run(python, "-c", NATIVE_WORKS, cwd=tmp_path, env=environment()))
    assert info["cuda"] is False
    assert info["cuda_archs"] == []
    assert info["no_device"] == "built without CUDA"
    assert info["isas"][0] == "generic"
    assert Path(info["kernels"]).is_relative_to(tmp_path)


def test_unknown_instruction_set_fails_the_import(native_wheel: Path, tmp_path: Path) -> None:
    python = new_python(tmp_path / "env")
    install(python, native_wheel, env=environment())
    env = environment(DIGAN_FAST_ISA="sse9")
    told = run(python, "-c", "import digan_fast._C", cwd=tmp_path, env=env, fails=True)
    assert "ImportError: DIGAN_FAST_ISA=sse9: expected one of generic" in told


def test_every_instruction_set_is_bit_identical(native_wheel: Path, tmp_path: Path) -> None:
    python = new_python(tmp_path / "env")
    install(python, native_wheel, env=environment())
    script = """
import array, hashlib, random, sys
from digan_fast import _C
random.seed(0)
n = 100_003
x, y = array.array("f", [random.gauss(0, 6) for _ in range(n)]), array.array("f", bytes(4 * n))
at = {"out": y.buffer_info()[0], "x": x.buffer_info()[0], "bias": 0}
digest = hashlib.sha256()
for activation in range(9):
    for threads in (1, 3):
        _C.bias_act_cpu(**at, outer=1, channels=1, inner=n, activation=activation, number=0,
                        alpha=0.2, gain=1.4, clamp=9.0, threads=threads)
        digest.update(y)
print(_C.isa(), digest.hexdigest())
"""
    digests = set()
    flags = run(python, "-c", "from digan_fast import _C; print(*_C.cpu_features())",
                cwd=tmp_path, env=environment()).split()  # fmt: skip
    for isa, needs in (("generic", None), ("avx2", "fma"), ("avx512", "avx512vl")):
        if needs in flags or needs is None:
            env = environment(DIGAN_FAST_ISA=isa)
            name, digest = run(python, "-c", script, cwd=tmp_path, env=env).split()
            assert name == isa
            digests.add(digest)
    assert len(digests) == 1


def test_editable_install_works(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "source")
    python = new_python(tmp_path / "env")
    env = environment(CMAKE_ARGS=GENERIC_ALONE)
    run(python, "setup.py", "build_ext", "--inplace", cwd=tree, env=env)
    told = install(python, tree, "--no-build-isolation", "--verbose", "--editable", env=env)
    assert "ninja: no work to do" in told
    info = json.loads(run(python, "-c", NATIVE_WORKS, cwd=tmp_path, env=environment()))
    assert Path(info["file"]).parent == tree / "digan_fast"
    assert info["isas"] == ["generic"]
    assert Path(info["kernels"]).parent == tree / "kernels"

    env = environment(DIGAN_FAST_NATIVE="0")
    install(python, tree, "--no-build-isolation", "--editable", env=env)
    told = run(python, "-c", PURE_WORKS, cwd=tmp_path, env=environment())
    assert told.strip() == "not built: DIGAN_FAST_NATIVE was 0"


def test_pure_wheel_on_request(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "dist"
    told = build_wheel(tree, out, environment(DIGAN_FAST_NATIVE="0"))
    assert "digan_fast: the native module is not built: DIGAN_FAST_NATIVE was 0" in told
    wheel = wheel_in(out)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert contents(wheel) == expected_contents(tree) | {"digan_fast/_native.txt"}
    python = new_python(tmp_path / "env")
    install(python, wheel, env=environment())
    told = run(python, "-c", PURE_WORKS, cwd=tmp_path, env=environment())
    assert told.strip() == "not built: DIGAN_FAST_NATIVE was 0"


def test_pure_install_without_a_compiler(tree: Path, no_tools: str, tmp_path: Path) -> None:
    python = new_python(tmp_path / "env")
    env = environment(no_tools)
    env.pop("DIGAN_FAST_CUDA")
    told = install(python, tree, "--no-build-isolation", "--verbose", env=env)
    assert "digan_fast: the native module is not built: no C++ compiler was found" in told
    told = run(python, "-c", PURE_WORKS, cwd=tmp_path, env=environment())
    assert told.strip() == "not built: no C++ compiler was found"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"DIGAN_FAST_NATIVE": "1"}, "DIGAN_FAST_NATIVE is 1, .* there is no C\\+\\+ compiler"),
        ({"DIGAN_FAST_CUDA": "1"}, "DIGAN_FAST_CUDA is 1, and there is no C\\+\\+ compiler"),
        ({"CXX": "c++-none"}, "CXX names 'c\\+\\+-none'"),
        ({"DIGAN_FAST_NATIVE": "yes"}, "DIGAN_FAST_NATIVE is 'yes', expected auto, 1 or 0"),
        ({"DIGAN_FAST_NATIVE": "0", "DIGAN_FAST_CUDA": "1"}, "which leaves CUDA out"),
    ],
)
def test_errors_without_a_compiler(
    settings: dict[str, str], message: str, tree: Path, no_tools: str, tmp_path: Path
) -> None:
    told = build_wheel(tree, tmp_path / "dist", environment(no_tools, **settings), fails=True)
    assert re.search(message, told), told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"DIGAN_FAST_CUDA": "1"}, "DIGAN_FAST_CUDA is 1 and there is no nvcc"),
        ({"DIGAN_FAST_CUDA_ARCHS": "80;sm_90"}, "DIGAN_FAST_CUDA_ARCHS contains 'sm_90'"),
        ({"DIGAN_FAST_CUDA": "1", "CUDA_HOME": "/none"}, "CUDA_HOME is '/none', where"),
    ],
)
def test_errors_without_nvcc(settings: dict[str, str], message: str, tree: Path, no_tools: str, tmp_path: Path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++")
    env = environment(no_tools, **{"CXX": str(compiler), **settings})
    assert message in build_wheel(tree, tmp_path / "dist", env, fails=True)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    tree = copy_tree(tmp_path / "source")
    source = tree / "csrc" / "cpu" / "ops" / "bias_act_kernel.cpp"
    source.write_text(f"{source.read_text(encoding='utf-8')}#error broken on purpose\n", encoding="utf-8")
    return tree


def test_broken_source_is_an_error_if_native_code_is_required(broken: Path, tmp_path: Path) -> None:
    told = build_wheel(broken, tmp_path / "dist", environment(DIGAN_FAST_NATIVE="1"), fails=True)
    assert "broken on purpose" in told
    assert "the native module was not built: it does not compile" in told


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_a_build_that_fails_installs_pure_python(editable: bool, broken: Path, tmp_path: Path) -> None:
    python = new_python(tmp_path / "env")
    (broken / "digan_fast" / f"_C{EXT_SUFFIX}").write_text("of an earlier build")
    how = ("--editable",) if editable else ()
    told = install(python, broken, "--no-build-isolation", "--verbose", *how, env=environment())
    assert "broken on purpose" in told
    assert "Installing pure Python, which computes the same, slower; DIGAN_FAST_NATIVE=1 makes this an error" in told
    told = run(python, "-c", PURE_WORKS, cwd=tmp_path, env=environment())
    assert told.startswith("not built: it does not compile")


FAKE_DRIVER = """
extern "C" {
int cuInit(unsigned) { return 0; }
int cuDeviceGetCount(int* count) { *count = 2; return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    *value = attribute == 75 ? (device ? MAJOR : 7) : (device ? 6 : 5);
    return 0;
}
}
"""


@pytest.fixture
def auto(tree: Path, tmp_path: Path) -> Callable[[int | None], str]:
    """The outcome of DIGAN_FAST_CUDA=auto with an nvcc, without a driver or with GPUs of sm_75 and sm_<major>6."""
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)
    script = "import runpy, sys; sys.argv = ['setup.py', '--quiet', 'clean']; "
    script += "print(runpy.run_path('setup.py')['cuda_options']())"

    def options(major: int | None) -> str:
        env = environment(CUDACXX=str(nvcc), DIGAN_FAST_CUDA="auto")
        if major is not None:
            source, driver = tmp_path / "driver.cpp", tmp_path / "libcuda.so.1"
            source.write_text(FAKE_DRIVER)
            compiler = shutil.which("c++")
            run(compiler, f"-DMAJOR={major}", "-shared", "-fPIC", source, "-o", driver, cwd=tmp_path, env=env)
            env["LD_LIBRARY_PATH"] = str(tmp_path)
        return run(sys.executable, "-c", script, cwd=tree, env=env)

    return options


def test_cuda_is_built_for_the_installed_gpus(auto: Callable[[int | None], str]) -> None:
    asked = "nvcc is here and no GPU from sm_80 on{}; DIGAN_FAST_CUDA=1 builds it for every architecture"
    assert "-DDIGAN_FAST_CUDA_ARCHS=86-real'" in auto(8)
    assert asked.format(" (sm_75) (sm_76)") in auto(7)


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a driver here")
def test_cuda_is_left_out_without_a_gpu(auto: Callable[[int | None], str]) -> None:
    assert "no GPU from sm_80 on; DIGAN_FAST_CUDA=1 builds it for every architecture" in auto(None)


def test_cuda_is_left_out_if_nvcc_fails(tree: Path, tmp_path: Path) -> None:
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho an nvcc that fails; exit 1\n")
    nvcc.chmod(0o755)
    cuda = {"DIGAN_FAST_CUDA": "auto", "DIGAN_FAST_CUDA_ARCHS": "90", "CUDACXX": str(nvcc)}
    env = environment(**cuda, CMAKE_ARGS=GENERIC_ALONE)
    told = build_wheel(tree, tmp_path / "dist", env)
    assert "the build with CUDA failed: it does not configure" in told
    assert f"digan_fast/_C{EXT_SUFFIX}" in contents(wheel_in(tmp_path / "dist"))


def test_cuda_build(tree: Path, nvcc: str, tmp_path: Path) -> None:
    cuda = {"DIGAN_FAST_CUDA": "1", "DIGAN_FAST_CUDA_ARCHS": "80;90a", "CUDACXX": nvcc}
    env = environment(**cuda, CMAKE_ARGS=GENERIC_ALONE)
    build_wheel(tree, tmp_path / "dist", env)
    python = new_python(tmp_path / "env")
    install(python, wheel_in(tmp_path / "dist"), env=environment())
    env = environment(CUDA_VISIBLE_DEVICES="")
    info = json.loads(run(python, "-c", NATIVE_WORKS, cwd=tmp_path, env=env))
    assert info["cuda"] is True
    assert info["cuda_archs"] == ["80", "90a"]
    assert info["no_device"] in (
        "no CUDA driver is installed",
        "no CUDA-capable device is detected",
    )


def test_native_sources_include_no_torch_header() -> None:
    header = re.compile(r"#\s*include\s*[<\"](torch|ATen|c10)")
    sources = [p for p in (ROOT / "csrc").rglob("*") if p.is_file()]
    assert sources
    assert not [str(p) for p in sources if header.search(p.read_text())]
