"""What holds for every unit test."""

import os

# Keras reads its backend when it is first imported, JAX its device, matplotlib its screen: so these
# stand here, before any test module is. They are set, not defaulted: a KERAS_BACKEND or a GPU of
# the machine must not decide what a test compares with. Processes that tests start inherit them.
os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["MPLBACKEND"] = "Agg"
