"""Settings that hold for the whole process: the default float type and Keras's small epsilon."""

from cnnlib.utils import unknown_name

_FLOATS = ("float32", "float64")
_settings = {"floatx": "float32"}


def floatx() -> str:
    """Name of the float type that new layers use: 'float32' unless changed.

    Examples
    --------
    >>> cnnlib.config.floatx()
    'float32'
    """
    return _settings["floatx"]


def set_floatx(value: str) -> None:
    """Choose the float type of layers that are made from now on.

    Parameters
    ----------
    value : {'float32', 'float64'}
        float64 is for gradient checks: it is half as fast and needs twice the memory.

    Raises
    ------
    ValueError
        For any other name.

    Examples
    --------
    >>> cnnlib.config.set_floatx("float32")
    """
    if value not in _FLOATS:
        raise unknown_name("float type", value, _FLOATS)
    _settings["floatx"] = value


def epsilon() -> float:
    """The 1e-7 by which Keras keeps probabilities away from 0 and 1 before a logarithm."""
    return 1e-7
