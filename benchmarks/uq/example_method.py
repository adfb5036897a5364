"""A method of one's own: SGHMC from where a short optimisation ends.

``python -m benchmarks.uq --only coverage --method benchmarks.uq.example_method:sghmc``

Copy this file to where you run the benchmark from, and give its name without ``.py``.
"""

import jax

import samplers
from bayespot import infer
from bayespot.data import Batch
from bayespot.draws import Draws
from bayespot.infer import Optimization, Sampling
from bayespot.posterior import Posterior

STEPS = 600


def sghmc(key: jax.Array, train: Posterior, validation: Batch) -> Draws:
    """One draw of each of eight chains; steps fall tenfold over the first half.

    Args:
        key: for this training set.
        train: likelihood, prior and training frames.
        validation: frames of the same kind, to stop by or to tune with.
    """
    falling = samplers.first_last(1e-4, 1e-5, STEPS // 2)
    how = Sampling(
        chains=8, draws=1, burn_in=STEPS - 50, thinning=50, batch_size=1,
        warm_start=Optimization(steps=1000, learning_rate=1e-2, batch_size=1),
    )  # fmt: skip
    return infer.sample(
        key, train, how, validation,
        build=lambda target: samplers.sghmc(
            target, falling, preconditioner=samplers.rmsprop(0.99, 1e-5, STEPS // 2)
        ),
    )  # fmt: skip
