"""Correlation and convolution of one picture with one kernel, in three ways that agree.

Lesson 04 (``notebooks/04_correlation_and_convolution.ipynb``) explains this module. The loops
that say the same in the formula's own letters stand in ``cnnlib.plain``.

Both operations lay the kernel on the picture, multiply the cells that touch, add the products, and
move on. Convolution turns the kernel by half a turn first. A layer called 'convolution' correlates.

The mode says how far the kernel may stick out of a picture of n rows (columns likewise) with its k
rows; the cells outside are 0:

========= ==================================================== =======================
mode      the kernel                                           rows of the result
========= ==================================================== =======================
``valid`` stays inside                                         n - k + 1
``same``  has its middle cell on the picture                   n
``full``  touches the picture with at least one cell           n + k - 1
========= ==================================================== =======================
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from cnnlib.utils import as_array, pair, unknown_name


def correlate2d(
    x: ArrayLike, kernel: ArrayLike, mode: str = "valid", method: str = "auto"
) -> np.ndarray:
    """Correlate a picture with a kernel.

    In mode 'valid' ``y[i, j] = sum over a, b of x[i + a, j + b] * kernel[a, b]``; the other modes
    apply the same formula to ``x`` with zeros around it. Equal to ``scipy.signal.correlate2d``.

    Parameters
    ----------
    x : array (height, width)
        The picture, integers or floats.
    kernel : array (kh, kw)
        Integers or floats. It may have an even size, and may be larger than the picture.
    mode : {'valid', 'same', 'full'}
        See the table above. As in SciPy, 'valid' slides the picture inside the kernel where the
        kernel is the larger one in both directions, and gives abs(height - kh) + 1 rows. An even
        k has no middle cell: 'same' then takes the one before the middle, (k - 1) // 2.
    method : {'auto', 'direct', 'matrix', 'fft'}
        'direct' multiplies every window with the kernel; 'matrix' copies the windows into the rows
        of a matrix (`im2col`) and makes one product; 'fft' multiplies spectra, whose cost hardly
        depends on the kernel's size. With 'fft' every result carries a rounding error that goes by
        the largest one (about 1e-15 of it), so that sums of integers are no longer exact, and one
        NaN in ``x`` spoils all of them. So 'auto' is 'fft' only from 64 kernel cells on, although
        it is the faster one before that on large pictures.

    Returns
    -------
    array
        float32 where both arguments are float32, else float64. The sums run in float64, so pictures
        of 8-bit integers cannot overflow; integers above 2**53 are rounded.

    Raises
    ------
    TypeError
        Complex, boolean or other values that are neither integers nor floats.
    ValueError
        Not two-dimensional, empty, an unknown mode or method, or mode 'valid' with a kernel that is
        larger than the picture in one direction and smaller in the other.

    References
    ----------
    V. Dumoulin, F. Visin, A guide to convolution arithmetic for deep learning, arXiv:1603.07285.

    Examples
    --------
    >>> from cnnlib.correlation import correlate2d
    >>> x = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    >>> kernel = np.array([[1, 0], [0, -1]])
    >>> correlate2d(x, kernel)  # 1 - 5, 2 - 6; 4 - 8, 5 - 9
    array([[-4., -4.],
           [-4., -4.]])
    >>> correlate2d(x, kernel, mode="same", method="matrix")
    array([[-4., -4.,  3.],
           [-4., -4.,  6.],
           [ 7.,  8.,  9.]])
    """
    x, kernel, dtype = _as_floats(x, kernel)
    padding = _padding(x, kernel, mode)
    return _slide(x, kernel, padding, method).astype(dtype, copy=False)


def convolve2d(
    x: ArrayLike, kernel: ArrayLike, mode: str = "valid", method: str = "auto"
) -> np.ndarray:
    """Convolve a picture with a kernel: correlate it with the kernel turned by half a turn.

    In mode 'full' ``y[i, j] = sum over a, b of x[i - a, j - b] * kernel[a, b]``. Arguments, result,
    errors and source are those of `correlate2d`; equal to ``scipy.signal.convolve2d``.

    Examples
    --------
    One white pixel is replaced by the kernel; `correlate2d` would show it turned.

    >>> from cnnlib.correlation import convolve2d
    >>> x = np.zeros((3, 3))
    >>> x[1, 1] = 1
    >>> convolve2d(x, [[1, 2], [3, 4]])
    array([[1., 2.],
           [3., 4.]])
    """
    x, kernel, dtype = _as_floats(x, kernel)
    # The middle cell of an even kernel turns with it, so the longer border changes sides.
    padding = [(after, before) for before, after in _padding(x, kernel, mode)]
    return _slide(x, kernel[::-1, ::-1], padding, method).astype(dtype, copy=False)


def im2col(
    x: ArrayLike, kernel_size: int | tuple[int, int], strides: int | tuple[int, int] = 1
) -> np.ndarray:
    """Copy every window of a picture into one row of a matrix.

    Row ``i * columns + j`` holds the window whose upper left cell is
    ``x[i * strides[0], j * strides[1]]``, read row by row. Then ``im2col(x, kernel.shape) @
    kernel.ravel()`` holds all results of a correlation in mode 'valid', and with channels
    ``im2col(x, (kh, kw)) @ kernel.reshape(kh * kw * channels, out)`` those of a Conv2D layer.

    Parameters
    ----------
    x : array (height, width) or (height, width, channels)
    kernel_size : int or (kh, kw)
    strides : int or (rows, columns)
        Steps from one window to the next.

    Returns
    -------
    array (windows, kh * kw) or (windows, kh * kw * channels)
        With the dtype of ``x``.

    Raises
    ------
    ValueError
        Another rank, a kernel that does not fit into ``x``, or a stride below 1.

    References
    ----------
    K. Chellapilla, S. Puri, P. Simard, High performance convolutional neural networks for document
    processing, 10th International Workshop on Frontiers in Handwriting Recognition, 2006.

    Examples
    --------
    >>> from cnnlib.correlation import im2col
    >>> im2col([[1, 2, 3], [4, 5, 6]], (2, 2))
    array([[1, 2, 4, 5],
           [2, 3, 5, 6]])
    """
    x = as_array(x)
    kernel_size, strides = pair(kernel_size, "kernel_size"), pair(strides, "strides")
    if x.ndim not in (2, 3) or kernel_size[0] > x.shape[0] or kernel_size[1] > x.shape[1]:
        raise ValueError(
            "x: expected a picture, (height, width) or (height, width, channels), no smaller than "
            f"the kernel {kernel_size}. Received: shape {x.shape}. Pass one picture of a batch, "
            "x[0], and put a border around it with np.pad where the kernel is larger."
        )
    windows = sliding_window_view(x, kernel_size, axis=(0, 1))[:: strides[0], :: strides[1]]
    if x.ndim == 3:
        windows = np.moveaxis(windows, 2, -1)  # channels last, in the order of a Conv2D kernel
    return windows.copy().reshape(windows.shape[0] * windows.shape[1], -1)


def _direct(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.einsum("ijab,ab->ij", sliding_window_view(x, kernel.shape), kernel)


def _matrix(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    y = im2col(x, kernel.shape) @ kernel.reshape(-1)
    return y.reshape(x.shape[0] - kernel.shape[0] + 1, -1)


def _fft(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    # A product of spectra is a *circular* convolution: what leaves the picture on one side comes
    # back on the other. Zeros up to n + k - 1 cells leave room for all of it, the 'full' result.
    # The part that touches no zeros is the 'valid' one. (It alone would survive without them.)
    size = [_fast_length(n + k - 1) for n, k in zip(x.shape, kernel.shape, strict=True)]
    spectrum = np.fft.rfft2(x, size) * np.fft.rfft2(kernel[::-1, ::-1], size)
    full = np.fft.irfft2(spectrum, size)
    return full[kernel.shape[0] - 1 : x.shape[0], kernel.shape[1] - 1 : x.shape[1]]


_METHODS = {"direct": _direct, "matrix": _matrix, "fft": _fft}


def _slide(x: np.ndarray, kernel: np.ndarray, padding: list, method: str) -> np.ndarray:
    """Put the zeros around the picture; then every mode is 'valid' for every method."""
    if method == "auto":
        method = "direct" if kernel.size < 64 else "fft"
    if method not in _METHODS:
        raise unknown_name("method", method, ["auto", *_METHODS])
    return _METHODS[method](np.pad(x, padding), kernel)


def _padding(x: np.ndarray, kernel: np.ndarray, mode: str) -> list[tuple[int, int]]:
    """Rows of zeros above and below the picture, columns of zeros left and right of it."""
    if mode == "full":
        return [(k - 1, k - 1) for k in kernel.shape]
    if mode == "same":
        return [((k - 1) // 2, k // 2) for k in kernel.shape]
    if mode != "valid":
        raise unknown_name("mode", mode, ["valid", "same", "full"])
    excess = [k - n for n, k in zip(x.shape, kernel.shape, strict=True)]
    if min(excess) < 0 < max(excess):
        raise ValueError(
            "mode 'valid': expected picture or kernel to be at least as large as the other in both "
            f"directions. Received: shapes {x.shape} and {kernel.shape}. Use mode 'same' or 'full'."
        )
    # This border lets a larger kernel cover the whole picture at each position: SciPy's answer.
    return [(max(e, 0), max(e, 0)) for e in excess]


def _fast_length(n: int) -> int:
    """Next length with no prime factor but 2, 3 and 5: one that divides a power of 30."""
    while pow(30, 64, n) != 0:
        n += 1
    return n


def _as_floats(x: ArrayLike, kernel: ArrayLike) -> tuple[np.ndarray, np.ndarray, str]:
    """Both arrays in float64, and the name of the dtype that the result shall have."""
    x, kernel = as_array(x), as_array(kernel)
    for name, array in (("x", x), ("kernel", kernel)):
        if array.dtype.kind not in "iuf":
            raise TypeError(
                f"{name}: expected integers or real floats. Received: dtype {array.dtype}. "
                f"Convert it first: {name}.astype('float64'), or {name}.real of complex numbers."
            )
        if array.ndim != 2 or array.size == 0:
            raise ValueError(
                f"{name}: expected shape (height, width), at least 1 x 1. Received: shape "
                f"{array.shape}. Pass one channel of one picture at a time."
            )
    dtype = "float32" if x.dtype == kernel.dtype == np.float32 else "float64"
    return x.astype("float64"), kernel.astype("float64"), dtype
