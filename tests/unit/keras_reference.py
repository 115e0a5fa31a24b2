"""Keras on JAX as the reference: one layer's values and all its gradients."""

import inspect

import jax
import keras
import numpy as np

import cnnlib

# What is compiled here runs once, on a few numbers: halves the time of these tests.
jax.config.update("jax_disable_most_optimizations", True)


def assert_close(received, expected, relative=1e-5, what=""):
    """Errors stay under `relative` times the reference's largest magnitude.

    A sum in float32 is wrong by a share of its largest terms, not of what is left after they have
    cancelled: so the array's largest number is the scale for all of its numbers.
    """
    received, expected = np.asarray(received), np.asarray(expected)
    assert received.shape == expected.shape, (what, received.shape, expected.shape)
    scale = np.abs(expected).max(initial=0.0)
    error = np.abs(received.astype(np.float64) - expected).max(initial=0.0)
    assert error <= relative * scale, f"{what}: error {error:.3g} where the largest is {scale:.3g}"


def random_weights(layer, rng):
    """New weights for a built layer of either library: no zeros or ones hide a mistake."""
    weights = [rng.normal(size=w.shape).astype("float32") for w in layer.get_weights()]
    if type(layer).__name__ == "BatchNormalization":
        weights[-1] = 0.5 + rng.random(weights[-1].shape, dtype="float32")  # the moving variance
    return weights


def keras_results(layer, x, dy, training=False):
    """``y, dx, grads, state`` of a built Keras layer, in the order of its weights."""
    options = (
        {"training": training} if "training" in inspect.signature(layer.call).parameters else {}
    )
    trainable = [variable.value for variable in layer.trainable_variables]
    others = [variable.value for variable in layer.non_trainable_variables]

    @jax.jit
    def run(trainable, others, x, dy):
        def call(trainable, x):
            return layer.stateless_call(trainable, others, x, **options)

        y, back, state = jax.vjp(call, trainable, x, has_aux=True)
        return y, back(dy), state

    y, (grads, dx), state = run(trainable, others, x, dy)
    return np.asarray(y), np.asarray(dx), [np.asarray(g) for g in grads], state


def same_layer(name, options, shape, rng):
    """The same layer in both libraries, built for `shape` (with the batch), of the same weights."""
    # The weights are replaced at once, and JAX needs a second to compile each random one.
    zeros = {"kernel_initializer": "zeros"} if name in ("Conv2D", "Dense") else {}
    theirs = getattr(keras.layers, name)(**options, **zeros)
    ours = getattr(cnnlib.layers, name)(**options)
    theirs.build(shape)
    ours.build((None, *shape[1:]))
    weights = random_weights(ours, rng)
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


def compare_layer(name, options, shape, training=False, seed=0, x=None):
    """Forward, dx, every parameter's gradient and the new moving averages agree to 1e-5."""
    rng = np.random.default_rng(seed)
    ours, theirs = same_layer(name, options, shape, rng)
    x = rng.normal(size=shape).astype("float32") if x is None else x
    y, cache = ours.forward(x, training, rng)
    dy = rng.normal(size=y.shape).astype("float32")
    dx, grads = ours.backward(dy, cache)
    expected_y, expected_dx, expected_grads, state = keras_results(theirs, x, dy, training)
    assert y.shape == ours.compute_output_shape(shape)
    assert {a.dtype for a in (y, dx, *grads.values())} == {np.dtype("float32")}
    assert list(grads) == list(ours.params)
    assert_close(y, expected_y, what="y")
    assert_close(dx, expected_dx, what="dx")
    for key, gradient, expected in zip(grads, grads.values(), expected_grads, strict=True):
        assert_close(gradient, expected, what=key)
    updated = ours.updated_state(cache)
    if updated:
        for key, value, expected in zip(updated, updated.values(), state, strict=True):
            assert_close(value, expected, what=key)
    return ours
