"""Layers: pure functions with parameters, under Keras's names."""

from cnnlib.layers.activations import ELU, Activation, LeakyReLU, ReLU, Softmax
from cnnlib.layers.base import Layer
from cnnlib.layers.comparative import ComparativeConv2D, ComparativeDense
from cnnlib.layers.convolution import Conv2D, ZeroPadding2D
from cnnlib.layers.core import Dense, Flatten, Input, InputLayer, Reshape
from cnnlib.layers.normalization import BatchNormalization, LayerNormalization
from cnnlib.layers.pooling import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from cnnlib.layers.regularization import Dropout

# Keras's short names.
AvgPool2D, MaxPool2D = AveragePooling2D, MaxPooling2D
GlobalAvgPool2D, GlobalMaxPool2D = GlobalAveragePooling2D, GlobalMaxPooling2D

__all__ = [
    "ELU",
    "Activation",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "ComparativeConv2D",
    "ComparativeDense",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling2D",
    "ReLU",
    "Reshape",
    "Softmax",
    "ZeroPadding2D",
]
