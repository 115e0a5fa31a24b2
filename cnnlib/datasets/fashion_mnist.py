"""Fashion-MNIST: 70,000 pictures of clothes in MNIST's form.

Lesson: notebooks/08_mnist_cnn.ipynb.
"""

from cnnlib.datasets.catalogue import Split, load


def load_data() -> tuple[Split, Split]:
    """Load Fashion-MNIST (a first call may download 31 MB in four files).

    Labels: 0 T-shirt/top, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, 7 sneaker,
    8 bag, 9 ankle boot.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images (60000, 28, 28) and (10000, 28, 28), uint8; labels (60000,) and (10000,), uint8.

    Raises
    ------
    ConnectionError
        If the set is not on this machine and cannot be downloaded.
    ValueError
        If a file has the wrong content.

    Source
    ------
    Xiao, Rasul and Vollgraf, arXiv:1708.07747; copyright Zalando SE, MIT licence.

    Examples
    --------
    >>> from cnnlib.datasets import fashion_mnist
    >>> (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()  # doctest: +SKIP
    """
    return load("fashion_mnist")
