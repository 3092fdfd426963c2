"""AdaGrad for the weights of maximum-entropy features, which are many and seldom met."""

import jax
import optax

from lmjax.checks import check_above_zero

__all__ = ["features_by_adagrad"]

INITIAL = 1e-7  # of the sums: first gradients that are far below its root move little


def features_by_adagrad(
    transform: optax.GradientTransformation, learning_rate: float = 1.0
) -> optax.GradientTransformationExtraArgs:
    """Return a transformation for a model of `models.maxent`: AdaGrad for the features' weights.

        a <- a + g^2,    theta <- theta - eta g / sqrt(a)

    All other parameters are trained by `transform`, as they would be alone. A weight whose n-gram
    is not in a batch has g = 0: it stays, and so does its sum, so that rare weights move far when
    they are met. Adam moves them on for some steps by the same gradient, and one rate would have to
    do for both.

    Args:
        transform: of the other parameters.
        learning_rate: eta.

    Raises:
        ValueError: the rate is not positive and finite.

    References: Duchi, Hazan and Singer (2011).
    """
    check_above_zero(learning_rate=learning_rate)
    adagrad = optax.chain(
        optax.scale_by_rss(INITIAL, 1e-12), optax.scale_by_learning_rate(learning_rate)
    )

    def parts(params):
        named = jax.tree.map(lambda _: "others", params)
        features = jax.tree.map(lambda _: "features", params.cell.features)
        return named._replace(cell=named.cell._replace(features=features))

    return optax.partition({"features": adagrad, "others": transform}, parts)
