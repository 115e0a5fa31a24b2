"""The plain version of every operation: loops, as in the formula.

The lessons read these functions beside the formulas (01 dense, 02 activations, 03 softmax with
cross-entropy, 04 correlation, 05 convolution, 06 pooling, 07 the comparative synapse, 09 dropout
and batch normalization), and the tests hold the fast code against them. Nothing here shares a line
with the fast code.

Every formula keeps its letters: ``y[n, o] = bias[o] + sum over i of x[n, i] * kernel[i, o]`` is two
loops, one over the indices on the left of the equals sign and one over those of the sum.
``np.ndindex(2, 3)`` counts (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2): two loops in one line.

A backward function takes ``dy``, the gradient of the loss with respect to y, and what the forward
function took. It returns the gradients with respect to x and the parameters. A number that serves
many outputs gets the *sum* of what they pass back, a parameter over the batch too: where the loss
is a mean, ``dy`` has already been divided. Sums run in float64; results have the dtype of x, or
float64 where x holds integers. No argument is written to.

Indices: n example, i and j row and column of y, a and b row and column of the kernel, c channel of
x, o channel of y.
"""

import math
from typing import Any

import numpy as np

from cnnlib.utils import pair, unknown_name

Array = np.ndarray
Pair = int | tuple[int, int]  # one number for both, or (rows, columns)
_MODES = ("valid", "same", "full")

# --- Dense: lesson 01 -----------------------------------------------------------------------------


def dense_forward(x: Array, kernel: Array, bias: Array | None = None) -> Array:
    """Weighted sums: ``y[n, o] = bias[o] + sum over i of x[n, i] * kernel[i, o]``.

    Parameters
    ----------
    x : array (batch, in)
    kernel : array (in, out)
    bias : array (out,), optional

    Returns
    -------
    array (batch, out)

    Raises
    ------
    ValueError
        When x and kernel differ in their number of inputs.

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.dense_forward(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]), np.array([5.0]))
    array([[16.]])
    """
    _expect(x.shape[1:] == kernel.shape[:1], "x (batch, in) and kernel (in, out)", x, kernel)
    batch, fan_in, fan_out = len(x), *kernel.shape
    y = np.zeros((batch, fan_out))
    for n, o in np.ndindex(batch, fan_out):
        y[n, o] = 0.0 if bias is None else bias[o]
        for i in range(fan_in):
            y[n, o] += x[n, i] * kernel[i, o]
    return _like(x, y)


def dense_backward(dy: Array, x: Array, kernel: Array) -> tuple[Array, Array, Array]:
    """Gradients of `dense_forward`.

    Each product ``x[n, i] * kernel[i, o]`` passes ``dy[n, o]`` times one factor to the other:
    ``dx[n, i] = sum over o of kernel[i, o] * dy[n, o]`` and
    ``dkernel[i, o] = sum over n of x[n, i] * dy[n, o]``; ``dbias[o] = sum over n of dy[n, o]``.

    Parameters
    ----------
    dy : array (batch, out)
    x : array (batch, in)
    kernel : array (in, out)

    Returns
    -------
    dx, dkernel, dbias : arrays (batch, in), (in, out), (out,)

    Examples
    --------
    >>> from cnnlib import plain
    >>> x, kernel = np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])
    >>> dx, dkernel, dbias = plain.dense_backward(np.array([[10.0]]), x, kernel)
    >>> dx, dkernel.T, dbias
    (array([[30., 40.]]), array([[10., 20.]]), array([10.]))
    """
    dx, dkernel, dbias = np.zeros(x.shape), np.zeros(kernel.shape), np.zeros(kernel.shape[1])
    for n, o in np.ndindex(dy.shape):
        dbias[o] += dy[n, o]
        for i in range(len(kernel)):
            dx[n, i] += kernel[i, o] * dy[n, o]
            dkernel[i, o] += x[n, i] * dy[n, o]
    return _like(x, dx), _like(x, dkernel), _like(x, dbias)


# --- Activations: lesson 02 -----------------------------------------------------------------------


def relu_forward(z: Array, negative_slope: float = 0.0) -> Array:
    """Each number by itself: ``y = z`` where z > 0, else ``negative_slope * z``.

    Parameters
    ----------
    z : array of any shape
    negative_slope : float
        0 for relu; a leaky relu has another.

    Returns
    -------
    array of z's shape

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.relu_forward(np.array([-2.0, 3.0]), negative_slope=0.1)
    array([-0.2,  3. ])
    """
    y = np.zeros(z.shape)
    for place in np.ndindex(z.shape):
        y[place] = z[place] if z[place] > 0 else negative_slope * z[place]
    return _like(z, y)


def relu_backward(dy: Array, z: Array, negative_slope: float = 0.0) -> Array:
    """Gradient of `relu_forward`: ``dz = dy`` where z > 0, else ``negative_slope * dy``.

    At z = 0, where a bend has no slope, relu takes 0 and a leaky relu 1, as Keras does.

    Parameters
    ----------
    dy : array of z's shape
    z : array of any shape
    negative_slope : float

    Returns
    -------
    array of z's shape

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.relu_backward(np.array([5.0, 5.0]), np.array([-2.0, 3.0]), negative_slope=0.1)
    array([0.5, 5. ])
    """
    dz = np.zeros(z.shape)
    for place in np.ndindex(z.shape):
        above = z[place] > 0 or (z[place] == 0 and negative_slope != 0)
        dz[place] = dy[place] if above else negative_slope * dy[place]
    return _like(z, dz)


def sigmoid_forward(z: Array) -> Array:
    """Each number by itself: ``y = 1 / (1 + exp(-z))``, between 0 and 1.

    Parameters
    ----------
    z : array of any shape

    Returns
    -------
    array of z's shape

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.sigmoid_forward(np.array([0.0, 1000.0]))
    array([0.5, 1. ])
    """
    y = np.zeros(z.shape)
    for place in np.ndindex(z.shape):
        e = math.exp(-abs(z[place]))  # at most 1: exp(1000) is too large for a number
        y[place] = (1 if z[place] >= 0 else e) / (1 + e)
    return _like(z, y)


def sigmoid_backward(dy: Array, y: Array) -> Array:
    """Gradient of `sigmoid_forward` from its result: ``dz = dy * y * (1 - y)``.

    Parameters
    ----------
    dy : array of y's shape
    y : array of any shape
        What `sigmoid_forward` gave.

    Returns
    -------
    array of y's shape

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.sigmoid_backward(np.array([8.0]), np.array([0.5]))
    array([2.])
    """
    dz = np.zeros(y.shape)
    for place in np.ndindex(y.shape):
        dz[place] = dy[place] * y[place] * (1 - y[place])
    return _like(y, dz)


def tanh_forward(z: Array) -> Array:
    """Each number by itself: ``y = tanh(z)``, between -1 and 1.

    Parameters
    ----------
    z : array of any shape

    Returns
    -------
    array of z's shape

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.tanh_forward(np.array([0.0, 1000.0]))
    array([0., 1.])
    """
    y = np.zeros(z.shape)
    for place in np.ndindex(z.shape):
        y[place] = math.tanh(z[place])
    return _like(z, y)


def tanh_backward(dy: Array, y: Array) -> Array:
    """Gradient of `tanh_forward` from its result: ``dz = dy * (1 - y**2)``.

    Parameters
    ----------
    dy : array of y's shape
    y : array of any shape
        What `tanh_forward` gave.

    Returns
    -------
    array of y's shape

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.tanh_backward(np.array([4.0]), np.array([0.5]))
    array([3.])
    """
    dz = np.zeros(y.shape)
    for place in np.ndindex(y.shape):
        dz[place] = dy[place] * (1 - y[place] ** 2)
    return _like(y, dz)


# --- Correlation and convolution of one picture with one kernel: lesson 04 ------------------------


def correlate2d(x: Array, kernel: Array, mode: str = "valid") -> Array:
    """Slide the kernel: ``y[i, j] = sum over a, b of x[i + a, j + b] * kernel[a, b]``.

    Parameters
    ----------
    x : array (height, width)
    kernel : array (kh, kw)
    mode : {'valid', 'same', 'full'}
        'valid' takes ``x`` as it is, 'same' puts k - 1 rows and columns of zeros around it, one
        more after than before where k is even, and 'full' puts k - 1 on each side. With 'valid' and
        a kernel that is larger than ``x`` in both directions, SciPy slides ``x`` over the kernel
        instead, from the last position to the first; so does this.

    Returns
    -------
    array
        (height - kh + 1, width - kw + 1), (height, width) or (height + kh - 1, width + kw - 1).

    Raises
    ------
    ValueError
        An unknown mode, or a kernel that is larger than ``x`` in one direction alone with 'valid'.

    References
    ----------
    V. Dumoulin, F. Visin, A guide to convolution arithmetic for deep learning, arXiv:1603.07285.

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.correlate2d(np.array([[1.0, 2.0, 4.0]]), np.array([[0.0, 1.0]]))
    array([[2., 4.]])
    """
    kh, kw = kernel.shape
    if mode == "valid" and kh >= x.shape[0] and kw >= x.shape[1] and kernel.shape != x.shape:
        return _like(x, correlate2d(kernel.astype("float64"), x)[::-1, ::-1])
    rows, top, bottom = _span(x.shape[0], kh, mode, known=_MODES)
    columns, left, right = _span(x.shape[1], kw, mode, known=_MODES)
    x_padded = np.pad(x.astype("float64"), [(top, bottom), (left, right)])
    y = np.zeros((rows, columns))
    for i, j in np.ndindex(rows, columns):
        for a, b in np.ndindex(kh, kw):
            y[i, j] += x_padded[i + a, j + b] * kernel[a, b]
    return _like(x, y)


def convolve2d(x: Array, kernel: Array, mode: str = "valid") -> Array:
    """Let every pixel paint the kernel: ``y[i + a, j + b]`` gets ``x[i, j] * kernel[a, b]``.

    That is ``y[i, j] = sum over a, b of x[i - a, j - b] * kernel[a, b]``, with minus signs where
    `correlate2d` has plus signs. All of y is the mode 'full'; 'same' and 'valid' keep its middle,
    of (height, width), or where nothing hangs over the border. Arguments, shapes and errors are
    those of `correlate2d`.

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.convolve2d(np.array([[0.0, 1.0, 0.0, 2.0]]), np.array([[5.0, 6.0]]), mode="full")
    array([[ 0.,  5.,  6., 10., 12.]])
    """
    (height, width), (kh, kw), pixels = x.shape, kernel.shape, x.astype("float64")
    full = np.zeros((height + kh - 1, width + kw - 1))
    for i, j in np.ndindex(height, width):
        for a, b in np.ndindex(kh, kw):
            full[i + a, j + b] += pixels[i, j] * kernel[a, b]
    if mode == "valid" and kh >= height and kw >= width:
        (height, width), (kh, kw) = (kh, kw), (height, width)  # the two may change places
    rows, _, bottom = _span(height, kh, mode, known=_MODES)
    columns, _, right = _span(width, kw, mode, known=_MODES)
    first, left = kh - 1 - bottom, kw - 1 - right
    return _like(x, full[first : first + rows, left : left + columns])


# --- Convolution layer: lesson 05 -----------------------------------------------------------------


def conv2d_forward(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    strides: Pair = 1,
    padding: str = "valid",
    dilation_rate: Pair = 1,
    groups: int = 1,
) -> Array:
    """Correlate every picture with every kernel, and add over the channels.

    ``y[n, i, j, o] = bias[o] + sum over a, b, c of x[n, i + a, j + b, c] * kernel[a, b, c, o]``;
    with strides (s, t) and dilation (d, e) the row is ``i * s + a * d``, the column
    ``j * t + b * e``. With groups, the channels of x and of y are cut into as many equal runs, and
    o sees only the run with its own number.

    Parameters
    ----------
    x : array (batch, height, width, in)
    kernel : array (kh, kw, in / groups, out)
    bias : array (out,), optional
    strides : int or (rows, columns)
        Steps from one window to the next.
    padding : {'valid', 'same'}
        'same' puts zeros around x so that y has ceil(height / stride) rows; where their number is
        odd, the last row or column is the extra one, as in Keras.
    dilation_rate : int or (rows, columns)
        Steps from one kernel cell to the next. (Keras refuses strides together with dilation.)
    groups : int

    Returns
    -------
    array (batch, rows, columns, out)
        For 'valid' there are (height - (kh - 1) * dilation - 1) // stride + 1 rows.

    Raises
    ------
    ValueError
        A kernel larger than ``x`` with 'valid', another padding, channels that do not match.

    References
    ----------
    V. Dumoulin, F. Visin, A guide to convolution arithmetic for deep learning, arXiv:1603.07285.

    Examples
    --------
    >>> from cnnlib import plain
    >>> x, kernel = np.ones((1, 3, 4, 2)), np.ones((2, 2, 2, 5))
    >>> y = plain.conv2d_forward(x, kernel, bias=np.full(5, 0.5))
    >>> y.shape, float(y[0, 0, 0, 0])
    ((1, 2, 3, 5), 8.5)
    """
    (s, t), (d, e) = pair(strides, "strides"), pair(dilation_rate, "dilation_rate")
    kh, kw, group_in, out = kernel.shape
    x_padded, rows, columns, _, _ = _pad_images(x, kernel, (s, t), padding, (d, e), groups)
    y = np.zeros((len(x), rows, columns, out))
    for n, i, j, o in np.ndindex(y.shape):
        group = o // (out // groups)
        y[n, i, j, o] = 0.0 if bias is None else bias[o]
        for a, b, c in np.ndindex(kh, kw, group_in):
            pixel = x_padded[n, i * s + a * d, j * t + b * e, group * group_in + c]
            y[n, i, j, o] += pixel * kernel[a, b, c, o]
    return _like(x, y)


def conv2d_backward(
    dy: Array,
    x: Array,
    kernel: Array,
    strides: Pair = 1,
    padding: str = "valid",
    dilation_rate: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """Gradients of `conv2d_forward`.

    Every product of the forward sum passes ``dy[n, i, j, o]`` times one factor to the other:
    ``dkernel[a, b, c, o] += x[n, i + a, j + b, c] * dy[n, i, j, o]`` and
    ``dx[n, i + a, j + b, c] += kernel[a, b, c, o] * dy[n, i, j, o]``, with strides, dilation and
    groups as there; ``dbias[o]`` is the sum of dy over n, i, j. What reaches the border of zeros is
    dropped.

    Parameters
    ----------
    dy : array (batch, rows, columns, out)
    x : array (batch, height, width, in)
    kernel : array (kh, kw, in / groups, out)
    strides, padding, dilation_rate, groups
        As in `conv2d_forward`.

    Returns
    -------
    dx, dkernel, dbias : arrays with the shapes of x and kernel, and (out,)

    Examples
    --------
    >>> from cnnlib import plain
    >>> x, kernel = np.ones((1, 1, 3, 1)), np.array([[[[2.0]], [[3.0]]]])
    >>> dx, dkernel, dbias = plain.conv2d_backward(np.ones((1, 1, 2, 1)), x, kernel)
    >>> dx.ravel(), dkernel.ravel(), dbias
    (array([2., 5., 3.]), array([2., 2.]), array([2.]))
    """
    (s, t), (d, e) = pair(strides, "strides"), pair(dilation_rate, "dilation_rate")
    kh, kw, group_in, out = kernel.shape
    x_padded, rows, columns, top, left = _pad_images(x, kernel, (s, t), padding, (d, e), groups)
    y_shape = len(x), rows, columns, out
    _expect(dy.shape == y_shape, f"dy {y_shape}", dy)
    dx_padded, dkernel, dbias = np.zeros(x_padded.shape), np.zeros(kernel.shape), np.zeros(out)
    for n, i, j, o in np.ndindex(dy.shape):
        group = o // (out // groups)
        dbias[o] += dy[n, i, j, o]
        for a, b, c in np.ndindex(kh, kw, group_in):
            pixel = n, i * s + a * d, j * t + b * e, group * group_in + c
            dkernel[a, b, c, o] += x_padded[pixel] * dy[n, i, j, o]
            dx_padded[pixel] += kernel[a, b, c, o] * dy[n, i, j, o]
    dx = dx_padded[:, top : top + x.shape[1], left : left + x.shape[2]]
    return _like(x, dx), _like(x, dkernel), _like(x, dbias)


# --- The comparative synapse: lesson 07 -----------------------------------------------------------


def synapse(x: Any, w: Any) -> Any:
    """Compare in place of multiplying: ``c(x, w) = (|x + w| - |x - w|) / 2``.

    That is the smaller of the two magnitudes, with the product's sign: ``sgn(w) * clip(x, -|w|,
    |w|)``. Numbers, or arrays of one shape.

    References
    ----------
    R. Dogaru, L. O. Chua, UCB/ERL M97/5 and M97/40, 1997.

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.synapse(3.0, -0.5), plain.synapse(0.25, 2.0), plain.synapse(0.0, 2.0)
    (-0.5, 0.25, 0.0)
    """
    return (abs(x + w) - abs(x - w)) / 2


def synapse_slopes(x: Any, w: Any) -> tuple[Any, Any]:
    """``dc/dx = (sgn(x + w) - sgn(x - w)) / 2`` and ``dc/dw = (sgn(x + w) + sgn(x - w)) / 2``.

    The factor of smaller magnitude has the slope 1 or -1, the other one 0. On a tie |x| = |w|,
    where c has a kink, each has half; where both are 0, both have 0.

    Examples
    --------
    >>> from cnnlib import plain
    >>> x, w = np.array([3.0, 0.25, 2.0, 0.0]), np.array([-0.5, 2.0, -2.0, 0.0])
    >>> plain.synapse_slopes(x, w)
    (array([ 0. ,  1. , -0.5,  0. ]), array([1. , 0. , 0.5, 0. ]))
    """
    total, difference = np.sign(x + w), np.sign(x - w)
    return (total - difference) / 2, (total + difference) / 2


def comparative_dense_forward(
    x: Array, kernel: Array, bias: Array | None = None, scale: float = 1.0
) -> Array:
    """Sums of comparisons: ``y[n, o] = bias[o] + scale * sum over i of c(x[n, i], kernel[i, o])``.

    Parameters
    ----------
    x : array (batch, in)
    kernel : array (in, out)
    bias : array (out,), optional
    scale : float

    Returns
    -------
    array (batch, out)

    Examples
    --------
    >>> from cnnlib import plain
    >>> x, kernel = np.array([[1.0, 2.0]]), np.array([[3.0], [-0.5]])
    >>> plain.comparative_dense_forward(x, kernel, np.array([5.0]))
    array([[5.5]])
    """
    _expect(x.shape[1:] == kernel.shape[:1], "x (batch, in) and kernel (in, out)", x, kernel)
    batch, fan_in, fan_out = len(x), *kernel.shape
    y = np.zeros((batch, fan_out))
    for n, o in np.ndindex(batch, fan_out):
        y[n, o] = 0.0 if bias is None else bias[o]
        for i in range(fan_in):
            y[n, o] += scale * synapse(x[n, i], kernel[i, o])
    return _like(x, y)


def comparative_dense_backward(
    dy: Array, x: Array, kernel: Array, scale: float = 1.0
) -> tuple[Array, Array, Array]:
    """Gradients of `comparative_dense_forward`.

    As in `dense_backward`, with `synapse_slopes` in place of a product's: ``dx[n, i] = scale * sum
    over o of dc/dx * dy[n, o]`` and ``dkernel[i, o] = scale * sum over n of dc/dw * dy[n, o]``.

    Parameters
    ----------
    dy : array (batch, out)
    x : array (batch, in)
    kernel : array (in, out)
    scale : float

    Returns
    -------
    dx, dkernel, dbias : arrays (batch, in), (in, out), (out,)

    Examples
    --------
    >>> from cnnlib import plain
    >>> x, kernel = np.array([[1.0, 2.0]]), np.array([[3.0], [-0.5]])
    >>> dx, dkernel, _ = plain.comparative_dense_backward(np.array([[10.0]]), x, kernel)
    >>> dx, dkernel.T
    (array([[10.,  0.]]), array([[ 0., 10.]]))
    """
    dx, dkernel, dbias = np.zeros(x.shape), np.zeros(kernel.shape), np.zeros(kernel.shape[1])
    for n, o in np.ndindex(dy.shape):
        dbias[o] += dy[n, o]
        for i in range(len(kernel)):
            slope_x, slope_w = synapse_slopes(x[n, i], kernel[i, o])
            dx[n, i] += scale * slope_x * dy[n, o]
            dkernel[i, o] += scale * slope_w * dy[n, o]
    return _like(x, dx), _like(x, dkernel), _like(x, dbias)


def comparative_conv2d_forward(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    scale: float = 1.0,
    strides: Pair = 1,
    padding: str = "valid",
    dilation_rate: Pair = 1,
    groups: int = 1,
) -> Array:
    """`conv2d_forward` with `synapse` in place of the product, and a scale before the bias.

    ``y[n, i, j, o] = bias[o] + scale * sum over a, b, c of
    c(x[n, i + a, j + b, c], kernel[a, b, c, o])``.

    Parameters
    ----------
    x : array (batch, height, width, in)
    kernel : array (kh, kw, in / groups, out)
    bias : array (out,), optional
    scale : float
    strides, padding, dilation_rate, groups
        As in `conv2d_forward`.

    Returns
    -------
    array (batch, rows, columns, out)

    Examples
    --------
    >>> from cnnlib import plain
    >>> x, kernel = np.full((1, 3, 4, 2), 9.0), np.ones((2, 2, 2, 5))
    >>> float(plain.comparative_conv2d_forward(x, kernel, np.full(5, 0.5), scale=2)[0, 0, 0, 0])
    16.5
    """
    (s, t), (d, e) = pair(strides, "strides"), pair(dilation_rate, "dilation_rate")
    kh, kw, group_in, out = kernel.shape
    x_padded, rows, columns, _, _ = _pad_images(x, kernel, (s, t), padding, (d, e), groups)
    y = np.zeros((len(x), rows, columns, out))
    for n, i, j, o in np.ndindex(y.shape):
        group = o // (out // groups)
        y[n, i, j, o] = 0.0 if bias is None else bias[o]
        for a, b, c in np.ndindex(kh, kw, group_in):
            pixel = x_padded[n, i * s + a * d, j * t + b * e, group * group_in + c]
            y[n, i, j, o] += scale * synapse(pixel, kernel[a, b, c, o])
    return _like(x, y)


def comparative_conv2d_backward(
    dy: Array,
    x: Array,
    kernel: Array,
    scale: float = 1.0,
    strides: Pair = 1,
    padding: str = "valid",
    dilation_rate: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """Gradients of `comparative_conv2d_forward`.

    As in `conv2d_backward`, with `synapse_slopes` in place of a product's, times the scale.

    Parameters
    ----------
    dy : array (batch, rows, columns, out)
    x : array (batch, height, width, in)
    kernel : array (kh, kw, in / groups, out)
    scale, strides, padding, dilation_rate, groups
        As in `comparative_conv2d_forward`.

    Returns
    -------
    dx, dkernel, dbias : arrays with the shapes of x and kernel, and (out,)

    Examples
    --------
    >>> from cnnlib import plain
    >>> x, kernel = np.ones((1, 1, 3, 1)), np.array([[[[2.0]], [[0.5]]]])
    >>> dx, dkernel, dbias = plain.comparative_conv2d_backward(np.ones((1, 1, 2, 1)), x, kernel)
    >>> dx.ravel(), dkernel.ravel(), dbias
    (array([1., 1., 0.]), array([0., 2.]), array([2.]))
    """
    (s, t), (d, e) = pair(strides, "strides"), pair(dilation_rate, "dilation_rate")
    kh, kw, group_in, out = kernel.shape
    x_padded, rows, columns, top, left = _pad_images(x, kernel, (s, t), padding, (d, e), groups)
    y_shape = len(x), rows, columns, out
    _expect(dy.shape == y_shape, f"dy {y_shape}", dy)
    dx_padded, dkernel, dbias = np.zeros(x_padded.shape), np.zeros(kernel.shape), np.zeros(out)
    for n, i, j, o in np.ndindex(dy.shape):
        group = o // (out // groups)
        dbias[o] += dy[n, i, j, o]
        for a, b, c in np.ndindex(kh, kw, group_in):
            pixel = n, i * s + a * d, j * t + b * e, group * group_in + c
            slope_x, slope_w = synapse_slopes(x_padded[pixel], kernel[a, b, c, o])
            dx_padded[pixel] += scale * slope_x * dy[n, i, j, o]
            dkernel[a, b, c, o] += scale * slope_w * dy[n, i, j, o]
    dx = dx_padded[:, top : top + x.shape[1], left : left + x.shape[2]]
    return _like(x, dx), _like(x, dkernel), _like(x, dbias)


# --- Pooling: lesson 06 ---------------------------------------------------------------------------


def max_pooling2d_forward(
    x: Array, pool_size: Pair = 2, strides: Pair | None = None, padding: str = "valid"
) -> Array:
    """Keep the largest number of each window and channel.

    ``y[n, i, j, c] = max over a, b of x[n, i * s + a, j * t + b, c]`` for strides (s, t).

    Parameters
    ----------
    x : array (batch, height, width, channels)
    pool_size : int or (rows, columns)
    strides : int or (rows, columns), optional
        The pool size where it is not given, so that windows touch and do not overlap.
    padding : {'valid', 'same'}
        'valid' drops rows and columns that fill no window. 'same' gives ceil(height / stride) rows,
        as in `conv2d_forward`; cells outside x are left out, as if they held minus infinity.

    Returns
    -------
    array (batch, rows, columns, channels)

    Raises
    ------
    ValueError
        A window larger than ``x`` with 'valid', or another padding.

    Examples
    --------
    >>> from cnnlib import plain
    >>> x = np.array([[1.0, 7.0, 2.0, 3.0], [4.0, 0.0, 5.0, 3.0]])
    >>> plain.max_pooling2d_forward(x.reshape(1, 2, 4, 1)).ravel()
    array([7., 5.])
    """
    rows, columns, windows = _windows(x, pool_size, strides, padding)
    y = np.zeros((len(x), rows, columns, x.shape[3]))
    for n, i, j, c in np.ndindex(y.shape):
        y[n, i, j, c] = max(x[n, row, column, c] for row, column in windows[i, j])
    return _like(x, y)


def max_pooling2d_backward(
    dy: Array, x: Array, pool_size: Pair = 2, strides: Pair | None = None, padding: str = "valid"
) -> Array:
    """Gradient of `max_pooling2d_forward`: dy goes to the cell that was the largest.

    Of equal cells the first one, row by row, gets all of it. A cell that is the largest of several
    overlapping windows gets the sum.

    Parameters
    ----------
    dy : array (batch, rows, columns, channels)
    x : array (batch, height, width, channels)
    pool_size, strides, padding
        As in `max_pooling2d_forward`.

    Returns
    -------
    dx : array (batch, height, width, channels)

    Examples
    --------
    >>> from cnnlib import plain
    >>> x, dy = np.array([1.0, 7.0, 7.0, 2.0]), np.array([5.0])
    >>> plain.max_pooling2d_backward(dy.reshape(1, 1, 1, 1), x.reshape(1, 2, 2, 1)).ravel()
    array([0., 5., 0., 0.])
    """
    _, _, windows = _windows(x, pool_size, strides, padding)
    dx = np.zeros(x.shape)
    for n, i, j, c in np.ndindex(dy.shape):
        # max returns the first of equal ones.
        row, column = max(windows[i, j], key=lambda cell: x[n, cell[0], cell[1], c])
        dx[n, row, column, c] += dy[n, i, j, c]
    return _like(x, dx)


def average_pooling2d_forward(
    x: Array, pool_size: Pair = 2, strides: Pair | None = None, padding: str = "valid"
) -> Array:
    """Average each window of each channel.

    ``y[n, i, j, c] = mean over a, b of x[n, i * s + a, j * t + b, c]``. With 'same' the mean is
    over the cells inside x: a window that hangs over the border divides by fewer. Arguments, result
    and errors are those of `max_pooling2d_forward`.

    Examples
    --------
    >>> from cnnlib import plain
    >>> x = np.array([1.0, 3.0, 8.0]).reshape(1, 1, 3, 1)
    >>> plain.average_pooling2d_forward(x, pool_size=(1, 2), padding="same").ravel()
    array([2., 8.])
    """
    rows, columns, windows = _windows(x, pool_size, strides, padding)
    y = np.zeros((len(x), rows, columns, x.shape[3]))
    for n, i, j, c in np.ndindex(y.shape):
        for row, column in windows[i, j]:
            y[n, i, j, c] += x[n, row, column, c] / len(windows[i, j])
    return _like(x, y)


def average_pooling2d_backward(
    dy: Array, x: Array, pool_size: Pair = 2, strides: Pair | None = None, padding: str = "valid"
) -> Array:
    """Gradient of `average_pooling2d_forward`: dy is shared out evenly over the window.

    Arguments and result are those of `max_pooling2d_backward`; of x only shape and dtype matter.

    Examples
    --------
    >>> from cnnlib import plain
    >>> dy, x = np.full((1, 1, 1, 1), 8.0), np.zeros((1, 2, 2, 1))
    >>> plain.average_pooling2d_backward(dy, x).ravel()
    array([2., 2., 2., 2.])
    """
    _, _, windows = _windows(x, pool_size, strides, padding)
    dx = np.zeros(x.shape)
    for n, i, j, c in np.ndindex(dy.shape):
        for row, column in windows[i, j]:
            dx[n, row, column, c] += dy[n, i, j, c] / len(windows[i, j])
    return _like(x, dx)


# --- Dropout and batch normalization: lesson 09 ---------------------------------------------------


def dropout_forward(x: Array, rate: float, uniform: Array) -> Array:
    """Drop a share of the numbers and scale the rest up, so that the expected value stays.

    ``y = 0 where uniform < rate, else x / (1 - rate)``: 'inverted' dropout.

    Parameters
    ----------
    x : array, any shape
    rate : float
        The share that is *dropped*, from 0 to 1, as in Keras. (Older code and the paper give the
        share that is kept.)
    uniform : array with the shape of x
        Random numbers from 0 up to 1, for example ``rng.random(x.shape)``. The backward pass needs
        the same ones.

    Returns
    -------
    array with the shape of x

    Raises
    ------
    ValueError
        A rate outside 0 to 1, or another shape of uniform.

    References
    ----------
    N. Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, Journal
    of Machine Learning Research 15, 2014.

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.dropout_forward(np.ones(4), rate=0.5, uniform=np.array([0.1, 0.9, 0.5, 0.3]))
    array([0., 2., 2., 0.])
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: expected the share to drop, from 0 to 1. Received: {rate}")
    _expect(x.shape == uniform.shape, "one random number for each number of x", x, uniform)
    y = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        if uniform[index] >= rate:
            y[index] = x[index] / (1 - rate)
    return _like(x, y)


def dropout_backward(dy: Array, rate: float, uniform: Array) -> Array:
    """Gradient of `dropout_forward`: what was dropped gets 0, the rest ``dy / (1 - rate)``.

    Parameters
    ----------
    dy : array with the shape of x
    rate, uniform
        As in `dropout_forward`.

    Returns
    -------
    dx : array with the shape of x

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.dropout_backward(np.array([3.0, 4.0]), rate=0.5, uniform=np.array([0.1, 0.9]))
    array([0., 8.])
    """
    return dropout_forward(dy, rate, uniform)  # linear in x: the same factors


def batch_normalization_forward(
    x: Array,
    gamma: Array,
    beta: Array,
    moving_mean: Array,
    moving_variance: Array,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
) -> tuple[Array, Array, Array]:
    """Shift and scale each channel to mean 0 and variance 1, then by gamma and beta, in training.

    ``x_hat = (x - mean) / sqrt(variance + epsilon)`` and ``y = gamma * x_hat + beta``. Mean and
    variance (divided by the count, not the count - 1) are those of the batch, for each channel over
    all other axes. ``moving = momentum * moving + (1 - momentum) * batch`` follows them: outside
    training the same formula takes the moving ones instead, and leaves them as they are.

    Parameters
    ----------
    x : array (batch, ..., channels)
    gamma, beta, moving_mean, moving_variance : arrays (channels,)
    momentum, epsilon : float
        With the defaults of Keras.

    Returns
    -------
    y, moving_mean, moving_variance : arrays with the shape of x, and twice (channels,)

    References
    ----------
    S. Ioffe, C. Szegedy, Batch normalization: accelerating deep network training by reducing
    internal covariate shift, arXiv:1502.03167, algorithm 1.

    Examples
    --------
    >>> from cnnlib import plain
    >>> x, one, zero = np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1)
    >>> y, mean, variance = plain.batch_normalization_forward(x, one, zero, zero, one, epsilon=0)
    >>> y.ravel(), mean, variance
    (array([-1.,  1.]), array([0.02]), array([1.]))
    """
    rows = x.reshape(-1, x.shape[-1]).astype("float64")  # every axis but the last becomes one
    moving_mean, moving_variance = moving_mean.copy(), moving_variance.copy()
    y = np.zeros(rows.shape)
    for c in range(rows.shape[1]):
        mean, variance = _mean_and_variance(rows[:, c])
        for m in range(len(rows)):
            x_hat = (rows[m, c] - mean) / np.sqrt(variance + epsilon)
            y[m, c] = gamma[c] * x_hat + beta[c]
        moving_mean[c] = momentum * moving_mean[c] + (1 - momentum) * mean
        moving_variance[c] = momentum * moving_variance[c] + (1 - momentum) * variance
    return _like(x, y.reshape(x.shape)), moving_mean, moving_variance


def batch_normalization_backward(
    dy: Array, x: Array, gamma: Array, epsilon: float = 1e-3
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_normalization_forward` in training.

    For each channel, with m numbers: ``dbeta = sum of dy``, ``dgamma = sum of dy * x_hat`` and
    ``dx = gamma / sqrt(variance + epsilon) * (dy - dbeta / m - x_hat * dgamma / m)``. The last two
    terms are there because each number of x also moves the mean and the variance of the others.

    Parameters
    ----------
    dy, x : arrays (batch, ..., channels)
    gamma : array (channels,)
    epsilon : float

    Returns
    -------
    dx, dgamma, dbeta : arrays with the shape of x, and twice (channels,)

    Examples
    --------
    >>> from cnnlib import plain
    >>> x, dy = np.array([[1.0], [3.0]]), np.array([[1.0], [5.0]])
    >>> dx, dgamma, dbeta = plain.batch_normalization_backward(dy, x, np.ones(1), epsilon=0)
    >>> dx.ravel(), dgamma, dbeta
    (array([0., 0.]), array([4.]), array([6.]))
    """
    channels = x.shape[-1]
    rows, dy_rows = x.reshape(-1, channels).astype("float64"), dy.reshape(-1, channels)
    dx, dgamma, dbeta = np.zeros(rows.shape), np.zeros(channels), np.zeros(channels)
    for c in range(channels):
        mean, variance = _mean_and_variance(rows[:, c])
        x_hat = [(value - mean) / np.sqrt(variance + epsilon) for value in rows[:, c]]
        for m in range(len(rows)):
            dbeta[c] += dy_rows[m, c]
            dgamma[c] += dy_rows[m, c] * x_hat[m]
        for m in range(len(rows)):
            others = dbeta[c] / len(rows) + x_hat[m] * dgamma[c] / len(rows)
            dx[m, c] = gamma[c] / np.sqrt(variance + epsilon) * (dy_rows[m, c] - others)
    return _like(x, dx.reshape(x.shape)), _like(x, dgamma), _like(x, dbeta)


# --- Softmax with cross-entropy: lesson 03 --------------------------------------------------------


def softmax(logits: Array) -> Array:
    """Probabilities from any numbers: ``p[n, k] = exp(z[n, k]) / sum over l of exp(z[n, l])``.

    The largest z of the row is subtracted from all of them first: p stays, no exp overflows.

    Parameters
    ----------
    logits : array (batch, classes)

    Returns
    -------
    array (batch, classes)
        Each row adds up to 1.

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.softmax(np.array([[1000.0, 1000.0]]))
    array([[0.5, 0.5]])
    """
    z, p = logits.astype("float64"), np.zeros(logits.shape)
    for n, k in np.ndindex(z.shape):
        p[n, k] = np.exp(z[n, k] - max(z[n]))
    for n in range(len(p)):
        p[n] /= sum(p[n])
    return _like(logits, p)


def softmax_cross_entropy_forward(logits: Array, labels: Array) -> float:
    """Mean over the batch of ``-log p[n, labels[n]]``, where p is the `softmax` of the logits.

    Computed as ``log(sum over k of exp(z[n, k] - top)) - (z[n, labels[n]] - top)`` with top the
    largest z of the row, so that no logarithm of 0 can occur.

    Parameters
    ----------
    logits : array (batch, classes)
    labels : array (batch,) of int
        From 0 to classes - 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        When there is not one label from 0 to classes - 1 for each row of logits.

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.softmax_cross_entropy_forward(np.array([[0.0, 0.0], [0.0, 9e4]]), np.array([0, 1]))
    0.3465735...
    """
    _check_labels(logits, labels)
    loss = 0.0
    for z, label in zip(logits.astype("float64"), labels, strict=True):
        top = max(z)
        loss += np.log(sum(np.exp(z_k - top) for z_k in z)) - (z[label] - top)
    return float(loss / len(labels))


def softmax_cross_entropy_backward(logits: Array, labels: Array) -> Array:
    """Gradient of `softmax_cross_entropy_forward` with respect to the logits.

    ``dlogits[n, k] = (p[n, k] - (1 if k == labels[n] else 0)) / batch``: it holds the division of
    the mean.

    Parameters
    ----------
    logits : array (batch, classes)
    labels : array (batch,) of int

    Returns
    -------
    array (batch, classes)
        Each row adds up to 0.

    Examples
    --------
    >>> from cnnlib import plain
    >>> plain.softmax_cross_entropy_backward(np.zeros((1, 4)), np.array([2]))
    array([[ 0.25,  0.25, -0.75,  0.25]])
    """
    _check_labels(logits, labels)
    dlogits = softmax(logits.astype("float64"))
    for n, label in enumerate(labels):
        dlogits[n, label] -= 1
    return _like(logits, dlogits / len(labels))


# --- Shared by the functions above ----------------------------------------------------------------


def _span(
    size: int, window: int, mode: str, stride: int = 1, dilation: int = 1, known: tuple = _MODES[:2]
) -> tuple[int, int, int]:
    """Windows along one axis, and the zeros that go before and after it."""
    extent = (window - 1) * dilation + 1  # cells from the window's first one to its last
    if mode not in known:
        raise unknown_name("mode" if known == _MODES else "padding", mode, known)
    if mode == "full":
        return size + extent - 1, extent - 1, extent - 1
    if mode == "same":
        count = -(-size // stride)  # rounded up
        missing = max((count - 1) * stride + extent - size, 0)
        return count, missing // 2, missing - missing // 2
    if extent > size:
        raise ValueError(
            f"'valid': expected a window of at most {size} cells. Received: {extent} cells. "
            "Use 'same', a smaller window or a larger picture."
        )
    return (size - extent) // stride + 1, 0, 0


def _pad_images(
    x: Array, kernel: Array, strides: tuple, padding: str, dilation_rate: tuple, groups: int
) -> tuple[Array, int, int, int, int]:
    """Return x in its border of zeros, rows and columns of y, rows above and columns left of x."""
    fits = x.shape[3] == kernel.shape[2] * groups and kernel.shape[3] % groups == 0
    _expect(fits, f"x (..., in) and kernel (kh, kw, in / {groups}, out)", x, kernel)
    rows, top, bottom = _span(x.shape[1], kernel.shape[0], padding, strides[0], dilation_rate[0])
    columns, left, right = _span(x.shape[2], kernel.shape[1], padding, strides[1], dilation_rate[1])
    border = [(0, 0), (top, bottom), (left, right), (0, 0)]
    return np.pad(x.astype("float64"), border), rows, columns, top, left


def _windows(
    x: Array, pool_size: Pair, strides: Pair | None, padding: str
) -> tuple[int, int, dict[tuple[int, int], list[tuple[int, int]]]]:
    """Rows and columns of y, and for each (i, j) the cells (row, column) of x in its window."""
    (ph, pw), (height, width) = pair(pool_size, "pool_size"), x.shape[1:3]
    s, t = pair(pool_size if strides is None else strides, "strides")
    rows, top, _ = _span(height, ph, padding, s)
    columns, left, _ = _span(width, pw, padding, t)
    windows = {}
    for i, j in np.ndindex(rows, columns):
        cells = [(i * s + a - top, j * t + b - left) for a, b in np.ndindex(ph, pw)]
        windows[i, j] = [(r, q) for r, q in cells if 0 <= r < height and 0 <= q < width]
    return rows, columns, windows


def _mean_and_variance(values: Array) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values) / len(values)


def _like(x: Array, y: Array) -> Array:
    return y.astype(x.dtype if x.dtype.kind == "f" else "float64")


def _expect(condition: bool, what: str, *arrays: Array) -> None:
    if not condition:
        shapes = " and ".join(str(array.shape) for array in arrays)
        raise ValueError(f"expected {what}. Received: shapes {shapes}. Compare them with .shape.")


def _check_labels(logits: Array, labels: Array) -> None:
    one_each = labels.shape == logits.shape[:1] and labels.dtype.kind in "iu"
    if not one_each or not all(0 <= label < logits.shape[1] for label in labels):
        raise ValueError(
            f"labels: expected {len(logits)} integers from 0 to {logits.shape[1] - 1}. Received: "
            f"{labels.dtype}, shape {labels.shape}. From one-hot rows, take labels.argmax(axis=-1)."
        )
