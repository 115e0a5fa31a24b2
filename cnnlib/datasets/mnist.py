"""MNIST: 70,000 handwritten digits.

Lesson: notebooks/08_mnist_cnn.ipynb.
"""

from cnnlib.datasets.catalogue import Split, load


def load_data(path: str = "mnist.npz") -> tuple[Split, Split]:
    """Load all of MNIST, in its original order.

    Parameters
    ----------
    path : str
        Name (without folders, as in Keras) of the file in CNNLIB_DATA_DIR, in Keras's cache or in
        the library's own; under this name a download is kept (11 MB).

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images (60000, 28, 28) and (10000, 28, 28), uint8, 0 is paper and 255 ink; labels (60000,)
        and (10000,), uint8, 0..9.

    Raises
    ------
    ConnectionError
        If the set is not on this machine and cannot be downloaded.
    ValueError
        If the file has the wrong content, or `path` names a folder.

    Source
    ------
    Yann LeCun and Corinna Cortes; CC BY-SA 3.0.

    Examples
    --------
    >>> from cnnlib.datasets import mnist
    >>> (x_train, y_train), (x_test, y_test) = mnist.load_data()  # doctest: +SKIP
    """
    if not path or "/" in path or "\\" in path:
        raise ValueError(
            f"Expected: a file name like 'mnist.npz'. Received: path={path!r}. "
            "To name its folder, set the environment variable CNNLIB_DATA_DIR."
        )
    return load("mnist", path)
