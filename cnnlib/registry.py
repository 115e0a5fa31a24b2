"""How layers, losses, optimizers and the like are described by plain data, and found by name.

A `Configurable` is described by the arguments of its constructor, which it keeps as attributes
of the same names. That description is Keras's own, so it can stand in a ``.keras`` file. Classes
come from this registry, never from a module path in a file.
"""

import inspect
import re
from typing import Any, Self

import numpy as np

from cnnlib.utils import unknown_name

# Arguments of Keras that this library leaves out. None and False change nothing in any of them,
# nor does the value that some have here.
_LEFT_OUT = dict.fromkeys(
    [
        "activity_regularizer",
        "kernel_constraint",
        "bias_constraint",
        "beta_constraint",
        "gamma_constraint",
        "lora_rank",
        "lora_alpha",
        "quantization_config",
        "synchronized",
        "renorm",
        "renorm_clipping",
        "rms_scaling",
        "noise_shape",
        "sparse",
        "ragged",
        "optional",
        "input_tensor",
        "input_axes",
        "output_axes",
        "clipnorm",
        "clipvalue",
        "global_clipnorm",
        "weight_decay",
        "use_ema",
        "ema_overwrite_frequency",
        "loss_scale_factor",
        "gradient_accumulation_steps",
        "ignore_class",
        "loss_weights",
        "weighted_metrics",
    ]
) | {
    "data_format": "channels_last",
    "dtype": "float32",
    "axis": -1,
    "ema_momentum": 0.99,
    "renorm_momentum": 0.99,
    "reduction": "sum_over_batch_size",
    "label_smoothing": 0.0,
}


def snake_case(name: str) -> str:
    """Keras's rule from class name to string name.

    Examples
    --------
    >>> cnnlib.registry.snake_case("MaxPooling2D"), cnnlib.registry.snake_case("LeakyReLU")
    ('max_pooling2d', 'leaky_re_lu')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class Configurable:
    """Base of everything that has a configuration and a name in the registry."""

    family: type["Configurable"]
    keras_module = "keras"
    aliases: tuple[str, ...] = ()
    classes: dict[str, type["Configurable"]]

    def __init_subclass__(cls, family: bool = False, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if family:
            cls.family, cls.classes = cls, {}
        elif not cls.__name__.startswith("_"):
            # A learner may write a class named Dense: it never takes the place of the library's.
            known = cls.classes.get(cls.__name__)
            if known is None or not known.__module__.startswith("cnnlib."):
                for name in (
                    cls.__name__,
                    snake_case(cls.__name__),
                    *cls.__dict__.get("aliases", ()),
                ):
                    cls.classes[name] = cls

    @classmethod
    def _arguments(cls) -> list[str]:
        """Names of the constructor's arguments, those of base classes first."""
        own = [vars(base)["__init__"] for base in reversed(cls.__mro__) if "__init__" in vars(base)]
        names = [
            name
            for init in own[1:]  # the first is object's
            for name, parameter in inspect.signature(init).parameters.items()
            if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
        ]
        return list(dict.fromkeys(names))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data (JSON)."""
        return {name: serialize(getattr(self, name)) for name in self._arguments()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """A new object from what `get_config` gave (or Keras's `get_config`).

        Raises
        ------
        ValueError
            For an argument that is unknown, or that Keras knows and cnnlib does not support.
        """
        accepted = cls._arguments()
        extras = {key: value for key, value in config.items() if key not in accepted}
        refuse_extras(cls.__name__, extras)
        return cls(**{key: value for key, value in config.items() if key in accepted})


def refuse_extras(owner: str, extras: dict[str, Any]) -> None:
    """Let arguments pass that change nothing; refuse the rest.

    Raises
    ------
    ValueError
        Naming the first argument that has an effect in Keras and none here.
    """
    for name, value in extras.items():
        off = value is None or value is False or value == _LEFT_OUT.get(name)
        if name not in _LEFT_OUT or not off:
            raise ValueError(
                f"{owner} does not know the argument {name}. Received: {name}={value!r}. "
                "docs/keras.md lists what cnnlib takes from Keras and what it leaves out"
            )


def serialize(value: Any) -> Any:
    """Plain data that describes `value`: Keras's form for objects, lists for tuples.

    Raises
    ------
    ValueError
        For an object whose class the registry does not hold: it could not be read back.
    """
    if isinstance(value, Configurable):
        name = type(value).__name__
        if value.classes.get(name) is not type(value):
            raise ValueError(
                f"{type(value).__module__}.{name} cannot be described: the name {name} belongs to "
                f"{value.classes.get(name)}. Give the class a name of its own"
            )
        module = type(value).keras_module
        own = not type(value).__module__.startswith("cnnlib.")
        return {
            "module": None if own else module,
            "class_name": name,
            "config": value.get_config(),
            "registered_name": f"Custom>{name}" if own else None,
        }
    if isinstance(value, tuple | list):
        return [serialize(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, type):
        return value.__name__
    return getattr(value, "config_name", value)


def get(family: type[Configurable], identifier: Any) -> Any:
    """An object of `family` from a name, a configuration, a class or such an object itself.

    Raises
    ------
    ValueError
        For a name that the family does not have (the nearest one is suggested).
    TypeError
        For anything else.
    """
    kind = family.__name__.lower()
    if identifier is None or isinstance(identifier, family):
        return identifier
    if isinstance(identifier, str):
        return _find(family, identifier)()
    if isinstance(identifier, dict) and "class_name" in identifier:
        return _find(family, identifier["class_name"]).from_config(identifier.get("config") or {})
    if isinstance(identifier, type) and issubclass(identifier, family):
        return identifier()
    raise TypeError(
        f"{kind}: expected a name such as {min(family.classes)!r} or an object of "
        f"cnnlib's {family.__name__}. Received: {identifier!r} of type {type(identifier).__name__}"
    )


def _find(family: type[Configurable], name: Any) -> type[Configurable]:
    found = family.classes.get(name) if isinstance(name, str) else None
    if found is None:
        raise unknown_name(family.__name__.lower(), name, family.classes)
    return found
