"""CIFAR-100: 60,000 small colour photographs in 100 classes and 20 superclasses.

Lesson: notebooks/08_mnist_cnn.ipynb.
"""

from cnnlib.datasets.catalogue import Split, load
from cnnlib.utils import unknown_name


def load_data(label_mode: str = "fine") -> tuple[Split, Split]:
    """Load CIFAR-100 from its binary version (a first call may download 161 MB).

    Parameters
    ----------
    label_mode : {"fine", "coarse"}
        Labels of the 100 classes (0..99) or of the 20 superclasses (0..19).

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
        If `label_mode` is another word or the file has the wrong content.

    Source
    ------
    A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009 (cite it when you
    use the set).

    Examples
    --------
    >>> from cnnlib.datasets import cifar100
    >>> (x_train, y_train), (x_test, y_test) = cifar100.load_data("coarse")  # doctest: +SKIP
    """
    columns = {"coarse": slice(0, 1), "fine": slice(1, 2)}
    if label_mode not in columns:
        raise unknown_name("label_mode", label_mode, columns)
    (x_train, y_train), (x_test, y_test) = load("cifar100")
    column = columns[label_mode]
    return (x_train, y_train[:, column].copy()), (x_test, y_test[:, column].copy())
