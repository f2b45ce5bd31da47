"""Plain gradient descent at rate 1: the change of the weights is the gradient."""

import optax


def build(learning_rate: optax.Schedule) -> optax.GradientTransformation:
    del learning_rate
    return optax.sgd(1.0)
