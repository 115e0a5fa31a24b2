"""cnnlib.correlation against SciPy, in all modes, methods and shapes."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from cnnlib.correlation import convolve2d, correlate2d, im2col

MODES = ["valid", "same", "full"]
METHODS = ["auto", "direct", "matrix", "fft"]
PAIRS = [(correlate2d, signal.correlate2d), (convolve2d, signal.convolve2d)]

# Numbers up to 1 and at most 64 products a sum: float64 keeps far more than 1e-9, and an error in
# one product would be as large as the numbers.
TIGHT = {"rtol": 0, "atol": 1e-9}

sides = st.integers(1, 8)
shapes = st.tuples(sides, sides)


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, shape) for shape in shapes]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("ours", "reference"), PAIRS)
@settings(derandomize=True, max_examples=60, deadline=None)
@given(shape=shapes, kernel_shape=shapes, seed=st.integers(0, 99))
def test_equals_scipy_for_all_shapes(ours, reference, mode, method, shape, kernel_shape, seed):
    x, kernel = draw(seed, shape, kernel_shape)
    try:
        expected = reference(x, kernel, mode)
    except ValueError:
        # SciPy refuses 'valid' where neither of the two fits into the other: so do we.
        with pytest.raises(ValueError, match="at least as large as the other in both directions"):
            ours(x, kernel, mode, method)
        return
    result = ours(x, kernel, mode, method)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, **TIGHT)


@pytest.mark.parametrize(("ours", "reference"), PAIRS)
def test_equals_scipy_for_every_shape_up_to_four(ours, reference):
    for height, width, kh, kw in itertools.product(range(1, 5), repeat=4):
        x, kernel = draw(0, (height, width), (kh, kw))
        fits = (height >= kh and width >= kw) or (height <= kh and width <= kw)
        for mode in MODES if fits else ["same", "full"]:
            expected = reference(x, kernel, mode)
            for method in METHODS:
                np.testing.assert_allclose(ours(x, kernel, mode, method), expected, **TIGHT)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("ours", "reference"), PAIRS)
def test_equals_scipy_on_a_picture_of_usual_size(ours, reference, method):
    # 101 + 20 - 1 = 120 and 67 + 11 - 1 = 77 rows and columns: one is a fast length for the FFT,
    # the other is not. The kernel has 220 cells, so 'auto' takes the FFT.
    x, kernel = draw(1, (101, 67), (20, 11))
    for mode in MODES:
        np.testing.assert_allclose(
            ours(x, kernel, mode, method), reference(x, kernel, mode), **TIGHT
        )


@pytest.mark.parametrize("method", METHODS)
def test_three_by_three_by_hand(method):
    x = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    kernel = np.array([[1, 0], [2, -1]])
    # 1*1 + 2*0 + 4*2 - 5*1 = 4, and so on; convolution starts with -1*1 + 2*2 + 0*4 + 1*5 = 8.
    np.testing.assert_allclose(correlate2d(x, kernel, method=method), [[4, 6], [10, 12]])
    np.testing.assert_allclose(convolve2d(x, kernel, method=method), [[8, 10], [14, 16]])


@pytest.mark.parametrize("method", METHODS)
def test_a_white_pixel_becomes_the_kernel_or_the_turned_kernel(method):
    pixel, kernel = np.zeros((3, 3)), np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    pixel[1, 1] = 1
    same = {"mode": "same", "method": method}
    np.testing.assert_allclose(convolve2d(pixel, kernel, **same), kernel, **TIGHT)
    np.testing.assert_allclose(correlate2d(pixel, kernel, **same), kernel[::-1, ::-1], **TIGHT)


def test_the_fft_does_not_wrap_around():
    # Ink in the last column alone: a circular result would show it in the first one too.
    x = np.zeros((8, 8))
    x[:, -1] = 1
    y = correlate2d(x, np.ones((3, 3)), mode="same", method="fft")
    np.testing.assert_allclose(y[:, :6], 0, atol=1e-12)  # rounding of sums up to 9
    assert y[4, 7] == pytest.approx(3)


@pytest.mark.parametrize("method", METHODS)
def test_8_bit_pictures_do_not_overflow(method):
    x = np.full((4, 5), 200, dtype="uint8")
    y = correlate2d(x, np.full((2, 3), 100, dtype="uint8"), method=method)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, np.full((3, 3), 120_000.0))


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("float32", "float32"), "float32"),
        (("float32", "float64"), "float64"),
        (("int64", "int64"), "float64"),
        (("int8", "float32"), "float64"),
    ],
)
def test_dtype_of_the_result(dtypes, expected):
    x, kernel = np.ones((4, 4), dtypes[0]), np.ones((2, 2), dtypes[1])
    for method in METHODS:
        assert correlate2d(x, kernel, method=method).dtype == expected
        assert convolve2d(x, kernel, "full", method).dtype == expected


def test_float32_is_as_exact_as_float32_can_be():
    x, kernel = (array.astype("float32") for array in draw(2, (30, 30), (9, 9)))
    exact = signal.correlate2d(x.astype("float64"), kernel.astype("float64"), "same")
    for method in METHODS:
        # The sums run in float64; only the last step rounds, by 6e-8 of the number.
        y = correlate2d(x, kernel, "same", method)
        np.testing.assert_allclose(y, exact, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_arguments_are_not_written_to_and_the_result_is_new(method):
    x, kernel = draw(3, (5, 6), (1, 1))
    kernel[:] = 1  # 'x times 1': the result equals x and must yet be another array
    x_before, kernel_before = x.copy(), kernel.copy()
    for function in (correlate2d, convolve2d):
        y = function(x, kernel, method=method)
        y += 1
        np.testing.assert_array_equal(x, x_before)
        np.testing.assert_array_equal(kernel, kernel_before)


def test_lists_are_accepted():
    np.testing.assert_allclose(correlate2d([[1, 2, 3]], [[1, -1]]), [[-1, -1]])


@pytest.mark.parametrize("function", [correlate2d, convolve2d])
class TestRefusals:
    @pytest.mark.parametrize("bad", [np.ones((3, 3), complex), np.ones((3, 3), bool), [["a", "b"]]])
    def test_values_that_are_not_real_numbers(self, function, bad):
        dtype = re.escape(str(np.asarray(bad).dtype))
        with pytest.raises(TypeError, match=f"x: expected integers or real floats.*{dtype}"):
            function(bad, np.ones((2, 2)))
        with pytest.raises(TypeError, match=r"kernel\.astype\('float64'\)"):
            function(np.ones((3, 3)), bad)

    @pytest.mark.parametrize("shape", [(3,), (3, 3, 1), (0, 3), ()])
    def test_other_ranks_and_empty_arrays(self, function, shape):
        message = r"expected shape \(height, width\), at least 1 x 1.*" + re.escape(str(shape))
        with pytest.raises(ValueError, match=f"x: {message}"):
            function(np.ones(shape), np.ones((2, 2)))
        with pytest.raises(ValueError, match=f"kernel: {message}"):
            function(np.ones((3, 3)), np.ones(shape))

    def test_unknown_names(self, function):
        x = np.ones((3, 3))
        with pytest.raises(ValueError, match="unknown mode: 'smae'. Did you mean 'same'"):
            function(x, x, mode="smae")
        with pytest.raises(ValueError, match="unknown method: 'ftt'. Did you mean 'fft'"):
            function(x, x, method="ftt")


@settings(derandomize=True, max_examples=60, deadline=None)
@given(shape=shapes, kernel_shape=shapes, strides=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_im2col_holds_the_windows_row_by_row(shape, kernel_shape, strides):
    kh, kw = (min(k, n) for k, n in zip(kernel_shape, shape, strict=True))
    x = np.arange(shape[0] * shape[1] * 3).reshape(*shape, 3)
    expected = [
        x[i : i + kh, j : j + kw]
        for i in range(0, shape[0] - kh + 1, strides[0])
        for j in range(0, shape[1] - kw + 1, strides[1])
    ]
    with_channels = im2col(x, (kh, kw), strides)
    np.testing.assert_array_equal(with_channels, [window.ravel() for window in expected])
    one_channel = im2col(x[..., 1], (kh, kw), strides)
    np.testing.assert_array_equal(one_channel, [window[..., 1].ravel() for window in expected])
    assert one_channel.dtype == x.dtype


def test_im2col_is_a_copy_even_where_a_view_would_do():
    x = np.ones((4, 3))
    columns = im2col(x, (1, 3))
    columns[:] = 7
    np.testing.assert_array_equal(x, 1)


def test_im2col_takes_one_number_for_a_square():
    x = np.arange(35.0).reshape(5, 7)
    np.testing.assert_array_equal(im2col(x, 3, 2), im2col(x, (3, 3), (2, 2)))


@pytest.mark.parametrize("shape", [(4, 4, 2, 2), (4,), (2, 4), (4, 2), (4, 2, 3)])
def test_im2col_refuses_other_ranks_and_kernels_that_do_not_fit(shape):
    message = r"no smaller than the kernel \(3, 3\)\. Received: shape " + re.escape(str(shape))
    with pytest.raises(ValueError, match=message):
        im2col(np.ones(shape), (3, 3))


def test_im2col_refuses_empty_steps_and_kernels():
    with pytest.raises(ValueError, match="strides"):
        im2col(np.ones((4, 4)), 2, strides=0)
    with pytest.raises(ValueError, match="kernel_size"):
        im2col(np.ones((4, 4)), (0, 2))
