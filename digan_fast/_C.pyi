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
def bias_act_cpu(
    out: int,
    x: int,
    bias: int,
    outer: int,
    channels: int,
    inner: int,
    activation: int,
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
