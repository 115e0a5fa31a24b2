"""Real images to train on, by the names that Keras gives them.

`digits` comes with the library and needs no network. The others are full sets: `load_data()` looks
in the folder named by the environment variable CNNLIB_DATA_DIR, then in Keras's own cache, and only
then downloads. Each returns `(x_train, y_train), (x_test, y_test)` as uint8 arrays, pixels 0..255.

Lesson: notebooks/08_mnist_cnn.ipynb.
"""

from cnnlib.datasets import cifar10, cifar100, digits, fashion_mnist, mnist, usps

__all__ = ["cifar10", "cifar100", "digits", "fashion_mnist", "mnist", "usps"]
