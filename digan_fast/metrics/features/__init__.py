"""Networks that turn clips into features: one module per network."""

from digan_fast.metrics.features.network import FeatureNetwork

__all__ = ["FeatureNetwork", "load", "OFFLINE"]

OFFLINE = ("random3d", "efficientnet-lite0")


def load(source: str, run_torchscript: bool = False) -> FeatureNetwork:
    """The network of one of the words in ``OFFLINE``, or of a file of weights.

    Raises ValueError, naming the file, if it holds no known network; FileNotFoundError; ModuleNotFoundError without the
    package that has a word's weights.
    """
    if source == "random3d":
        from digan_fast.metrics.features.random3d import Random3d

        return Random3d()
    if source == "efficientnet-lite0":
        from digan_fast.metrics.features.efficientnet_lite0 import load_installed

        return load_installed()
    from digan_fast.metrics.features.files import load_features

    return load_features(source, run_torchscript)
