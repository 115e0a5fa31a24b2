"""CIFAR-10: 60,000 small colour photographs in ten classes.

Lesson: notebooks/08_mnist_cnn.ipynb.
"""

from cnnlib.datasets.catalogue import Split, load


def load_data() -> tuple[Split, Split]:
    """Load CIFAR-10 from its binary version (a first call may download 162 MB).

    Labels: 0 airplane, 1 automobile, 2 bird, 3 cat, 4 deer, 5 dog, 6 frog, 7 horse, 8 ship,
    9 truck. What Keras keeps in its cache is the version in Python pickles, which this library
    never opens.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images (50000, 32, 32, 3) and (10000, 32, 32, 3), uint8, red, green, blue; labels
        (50000, 1) and (10000, 1), uint8.

    Raises
    ------
    ConnectionError
        If the set is not on this machine and cannot be downloaded.
    ValueError
        If the file has the wrong content.

    Source
    ------
    A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009 (cite it when you
    use the set).

    Examples
    --------
    >>> from cnnlib.datasets import cifar10
    >>> (x_train, y_train), (x_test, y_test) = cifar10.load_data()  # doctest: +SKIP
    """
    return load("cifar10")
