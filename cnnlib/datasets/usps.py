"""USPS: 9,298 handwritten digits from envelopes.

Lesson: notebooks/08_mnist_cnn.ipynb.
"""

from cnnlib.datasets.catalogue import Split, load


def load_data() -> tuple[Split, Split]:
    """Load the USPS digits (a first call may download them, in two files).

    Keras has no such set; pixels and labels are those of torchvision's `USPS`.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images (7291, 16, 16) and (2007, 16, 16), uint8; labels (7291,) and (2007,), uint8, 0..9.

    Raises
    ------
    ConnectionError
        If the set is not on this machine and cannot be downloaded.
    ValueError
        If a file has the wrong content.

    Source
    ------
    J. J. Hull, A database for handwritten text recognition research, IEEE Transactions on Pattern
    Analysis and Machine Intelligence 16(5), 1994; files of the LIBSVM data page.

    Examples
    --------
    >>> from cnnlib.datasets import usps
    >>> (x_train, y_train), (x_test, y_test) = usps.load_data()  # doctest: +SKIP
    """
    return load("usps")
