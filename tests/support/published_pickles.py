"""Writes small pickles in the published format, without the packages that they refer to."""

import collections
import pickle
import struct
import sys
import types

import numpy as np
import torch

RECONSTRUCT = ("torch_utils.persistence", "_reconstruct_persistent_obj")


def named(module, name):
    """A class that pickles under the given name, and is importable within `importable`."""
    return type(name, (), {"__module__": module, "__qualname__": name})


class Call:
    """Pickles as a call of `target`."""

    def __init__(self, target, *args, state=None):
        self.reduced = (target, args) if state is None else (target, args, state)

    def __reduce__(self):
        return self.reduced


class importable:
    """Makes classes importable under their assumed names, which the pickler checks."""

    def __init__(self, *classes):
        self.classes = classes

    def __enter__(self):
        modules = {c.__module__ for c in self.classes}
        parents = {m.rpartition(".")[0] for m in modules} | {m.partition(".")[0] for m in modules}
        names = modules | {name for name in parents if name not in sys.modules}
        self.before = {name: sys.modules.get(name) for name in names}
        for name in names:
            sys.modules[name] = types.ModuleType(name)
        for c in self.classes:
            setattr(sys.modules[c.__module__], c.__name__, c)

    def __exit__(self, *_):
        for name, module in self.before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def instance(cls, **state):
    made = cls()
    made.__dict__.update(state)
    return made


def network(reconstruct, class_name, parameters=None, modules=None, kwargs=None, args=(), src="1/0"):
    return Call(
        reconstruct,
        {
            "type": "class",
            "version": 6,
            "module_src": src,
            "class_name": class_name,
            "state": {
                "training": True,
                "_parameters": parameters or {},
                "_buffers": collections.OrderedDict(w_avg=torch.arange(4.0), cache=torch.zeros(9)),
                "_non_persistent_buffers_set": {"cache"},
                "_modules": modules or {},
                "_init_args": args,
                "_init_kwargs": kwargs or {},
            },
        },
    )


def crafted(protocol=4, core="numpy._core", src="1/0", old=False, **kwargs):
    """A small file with everything that published files contain."""
    reconstruct = named(*RECONSTRUCT)
    config, listing = (
        named("omegaconf.dictconfig", "DictConfig"),
        named("omegaconf.listconfig", "ListConfig"),
    )
    any_node, integer = named("omegaconf.nodes", "AnyNode"), named("omegaconf.nodes", "IntegerNode")
    metadata = named("omegaconf.base", "ContainerMetadata")
    sequential = named("torch.nn.modules.container", "Sequential")
    dictionary = type("EasyDict", (dict,), {"__module__": "dnnlib.util", "__qualname__": "EasyDict"})
    scalar = named(f"{core}.multiarray", "scalar")
    beta = named("torch.distributions.beta", "Beta")
    with importable(
        reconstruct,
        config,
        listing,
        any_node,
        integer,
        metadata,
        sequential,
        dictionary,
        scalar,
        beta,
    ):
        root = instance(config, _parent=None)
        about = instance(
            metadata,
            object_type=dict,
            optional=True,
            flags={},
            resolver_cache=collections.defaultdict(dict),
        )

        def node(value, kind=any_node):
            return instance(kind, _metadata=about, _parent=root, _val=value)

        coords = instance(config, _parent=root, _content={"low": node("${generator.size}"), 32: node(1, integer)})
        root.__dict__.update(
            _metadata=about,
            _content={
                "size": node(16),
                "coords": coords,
                "input": node("${coords}"),
                "all": instance(listing, _parent=root, _content=[node(None), node("a${size}b")]),
            },
        )
        if old:
            root.__dict__["_resolver_cache"] = collections.defaultdict(dict)
        weight = torch.arange(12.0).reshape(3, 4).t()
        inner = instance(sequential, _parameters={}, _buffers={}, _modules={})
        inner.__dict__["_modules"]["0"] = network(
            reconstruct, "FullyConnectedLayer", {"weight": torch.nn.Parameter(weight), "bias": None}
        )
        state = network(
            reconstruct,
            "Generator",
            modules=collections.OrderedDict(mlp=inner, nothing=None),
            args=(512, 0),
            kwargs=dictionary(cfg=root, sigma=Call(scalar, np.dtype("f8"), struct.pack("<d", 0.25)), **kwargs),
            src=src,
        )
        fields = {
            "G": None,
            "D": None,
            "G_ema": state,
            "augment_pipe": instance(beta, _batch_shape=torch.Size([1])),
            "training_set_kwargs": dictionary(path="sky", xflip=True),
        }
        return pickle.dumps(fields, protocol)
