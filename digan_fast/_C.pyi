from collections.abc import Sequence
from typing import TypedDict

class BuildInfo(TypedDict):
    compiler: str
    openmp: bool
    isas: list[str]
    cuda: bool
    cuda_archs: list[str]

class CudaInfo(TypedDict):
    devices: int
    runtime_version: int
    driver_version: int
    reason: str

def build_info() -> BuildInfo: ...
def cpu_features() -> list[str]: ...
def isa() -> str: ...
def cuda_info() -> CudaInfo: ...
def result(shape: Sequence[int], strides: Sequence[int], bfloat16: bool) -> object: ...
def keep_freed_results(keep: bool) -> None: ...
def peak_rate(instruction: str, threads: int, seconds: float) -> float: ...
def bias_act_cpu(
    out: int,
    x: int,
    bias: int,
    outer: int,
    channels: int,
    inner: int,
    activation: int,
    bfloat16: bool,
    alpha: float,
    gain: float,
    clamp: float,
    threads: int,
) -> None: ...

# (weight, bias, outputs, inputs, activation, gain, clamp)
Layer = tuple[int, int, int, int, int, float, float]
# (side, sinusoids, frequency, phase, layers, to_rgb)
Level = tuple[int, int, int, int, list[Layer], Layer]

def render_cpu(
    out: int,
    videos: int,
    frames: int,
    side: int,
    window: list[int],
    levels: list[Level],
    precision: int,
    threads: int,
) -> None: ...
def linear_act_cpu(
    out: int,
    x: int,
    weight: int,
    bias: int,
    own_biases: bool,
    shape: list[int],
    activation: int,
    gain: float,
    clamp: float,
    threads: int,
) -> None: ...
def linear_act_backward_cpu(
    out: int,
    x: int,
    weight: int,
    bias: int,
    own_biases: bool,
    shape: list[int],
    activation: int,
    gain: float,
    clamp: float,
    threads: int,
    grad: int,
    dx: int,
    dweight: int,
    dbias: int,
) -> None: ...
def coord_linear_cpu(
    out: int,
    base: int,
    frequency: int,
    phase: int,
    weight: int,
    bias: int,
    shape: list[int],
    grid: list[int],
    activation: int,
    gain: float,
    clamp: float,
    threads: int,
) -> None: ...
def coord_linear_backward_cpu(
    out: int,
    base: int,
    frequency: int,
    phase: int,
    weight: int,
    bias: int,
    shape: list[int],
    grid: list[int],
    activation: int,
    gain: float,
    clamp: float,
    threads: int,
    grad: int,
    dbase: int,
    dfrequency: int,
    dphase: int,
    dweight: int,
    dbias: int,
) -> None: ...

# (weight, bias, own_biases, outputs, inputs, activation, gain)
MlpLayer = tuple[int, int, bool, int, int, int, float]

def coord_mlp_cpu(
    out: int,
    coordinates: int,
    own_coordinates: bool,
    sets: int,
    points: int,
    layers: list[MlpLayer],
    threads: int,
) -> None: ...
def bias_act_backward_cpu(
    dx: int,
    dbias: int,
    grad: int,
    x: int,
    bias: int,
    out: int,
    outer: int,
    channels: int,
    inner: int,
    activation: int,
    bfloat16: bool,
    grad_expanded: bool,
    alpha: float,
    gain: float,
    clamp: float,
    threads: int,
) -> None: ...
def upfirdn2d_cpu(
    out: int,
    x: int,
    filter: int,
    images: int,
    channels: int,
    size: tuple[int, int],
    out_size: tuple[int, int],
    taps: tuple[int, int],
    before: tuple[int, int],
    up: int,
    down: int,
    bfloat16: bool,
    threads: int,
) -> None: ...
def fmm_weights_cpu(
    out: int,
    weight: int,
    left: int,
    right: int,
    batch: int,
    outputs: int,
    inputs: int,
    rank: int,
    modulation: int,
    scale: float,
    threads: int,
) -> None: ...
def fmm_weights_backward_cpu(
    dweight: int,
    dleft: int,
    dright: int,
    grad: int,
    weight: int,
    left: int,
    right: int,
    batch: int,
    outputs: int,
    inputs: int,
    rank: int,
    modulation: int,
    grad_expanded: bool,
    scale: float,
    threads: int,
) -> None: ...

# Where build_info()["cuda"]; addresses are the device's.
def render_cuda_why_not(
    videos: int,
    frames: int,
    side: int,
    window: list[int],
    levels: list[tuple[object, ...]],
    precision: int,
) -> str: ...
def render_cuda_workspace(
    videos: int,
    frames: int,
    side: int,
    window: list[int],
    levels: list[tuple[object, ...]],
    precision: int,
) -> int: ...
def render_cuda(
    videos: int,
    frames: int,
    side: int,
    window: list[int],
    levels: list[tuple[object, ...]],
    precision: int,
    out: int,
    workspace: int,
    stream: int,
) -> None: ...
def bias_act_cuda(
    out: int,
    x: int,
    bias: int,
    shape: list[int],
    activation: int,
    number: int,
    alpha: float,
    gain: float,
    clamp: float,
    stream: int,
) -> None: ...
def bias_act_cuda_parts(outer: int, inner: int) -> int: ...
def bias_act_backward_cuda(
    dx: int,
    dbias: int,
    partials: int,
    grad: int,
    x: int,
    bias: int,
    saved: int,
    shape: list[int],
    activation: int,
    number: int,
    alpha: float,
    gain: float,
    clamp: float,
    stream: int,
) -> None: ...
def upfirdn2d_cuda(
    out: int,
    x: int,
    filter: int,
    images: int,
    channels: int,
    size: tuple[int, int],
    out_size: tuple[int, int],
    taps: tuple[int, int],
    before: tuple[int, int],
    up: int,
    down: int,
    number: int,
    stream: int,
) -> None: ...

FMM_WEIGHTS_CUDA_INPUTS: int

def fmm_weights_cuda(
    out: int,
    weight: int,
    left: int,
    right: int,
    shape: list[int],
    modulation: int,
    scale: float,
    stream: int,
) -> None: ...
def fmm_weights_backward_cuda(
    dweight: int,
    dleft: int,
    dright: int,
    partials: int,
    grad: int,
    weight: int,
    left: int,
    right: int,
    shape: list[int],
    modulation: int,
    scale: float,
    stream: int,
) -> None: ...
def linear_act_cuda(
    out: int,
    x: int,
    weight: int,
    bias: int,
    shape: list[int],
    shared_x: bool,
    own_biases: bool,
    activation: int,
    number: int,
    tf32: bool,
    gain: float,
    clamp: float,
    stream: int,
) -> None: ...
def linear_act_cuda_partials(shape: list[int], own_biases: bool, number: int) -> int: ...
def linear_act_backward_cuda(
    dx: int,
    dweight: int,
    dbias: int,
    dz: int,
    partials: int,
    grad: int,
    x: int,
    weight: int,
    bias: int,
    saved: int,
    shape: list[int],
    shared_x: bool,
    own_biases: bool,
    activation: int,
    number: int,
    tf32: bool,
    gain: float,
    clamp: float,
    stream: int,
) -> None: ...
def coord_linear_cuda(
    out: int,
    base: int,
    frequency: int,
    phase: int,
    weight: int,
    bias: int,
    shape: list[int],
    grid: list[int],
    activation: int,
    number: int,
    tf32: bool,
    gain: float,
    clamp: float,
    stream: int,
) -> None: ...
def coord_linear_cuda_partials(shape: list[int], grid: list[int], based: bool, number: int) -> int: ...
def coord_linear_backward_cuda(
    dbase: int,
    dtheta: int,
    dvideo: int,
    dweight: int,
    dbias: int,
    dz: int,
    partials: int,
    grad: int,
    base: int,
    frequency: int,
    phase: int,
    weight: int,
    saved: int,
    shape: list[int],
    grid: list[int],
    activation: int,
    number: int,
    tf32: bool,
    gain: float,
    clamp: float,
    stream: int,
) -> None: ...
