"""5,000 real handwritten digits that come with the library.

Lesson: notebooks/08_mnist_cnn.ipynb.
"""

from cnnlib.datasets.catalogue import SETS, Split, read
from cnnlib.utils import shipped_file


def load_data() -> tuple[Split, Split]:
    """Load the embedded digits: 400 a class to train on, 100 a class to test on; never a network.

    All of them come from MNIST's *training* set. So never report an accuracy on them as 'MNIST
    test accuracy'. And a difference under 1.2 points on 1,000 digits means nothing: at 96 %, one
    standard deviation of chance alone is sqrt(0.96 * 0.04 / 1000) = 0.6 points. Choose settings
    on `validation_split=0.2` of the 4,000, not on the 1,000.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images (4000, 28, 28) and (1000, 28, 28), uint8, 0 is paper and 255 ink; labels (4000,)
        and (1000,), uint8, 0..9.

    Raises
    ------
    FileNotFoundError
        If the installation lacks the file.
    ValueError
        If the file is not the one that belongs to this version.

    Source
    ------
    MNIST by Yann LeCun and Corinna Cortes, CC BY-SA 3.0; chosen by `scripts/make_digits.py` (see
    `data/README.md`).

    Examples
    --------
    >>> from cnnlib.datasets import digits
    >>> (x_train, y_train), (x_test, y_test) = digits.load_data()
    >>> x_train.shape, y_test.shape
    ((4000, 28, 28), (1000,))
    """
    return read(SETS["digits"], [shipped_file("digits.npz")])
