"""The alias calls of JaxSGMC (Thaler, Fuchs, Cukarska & Zavadlav 2024) on the kernels here.

    from samplers import jax_sgmc as alias  # was: from jax_sgmc import alias

Everything else of a JaxSGMC program stays: ``potential.minibatch_potential``, log likelihood and
log prior, NumPy data loaders, the arguments of each call and the layout of its results.  Their
own ``alias`` cannot be imported with a current JAX, and parts of it sample other laws than meant.

What the arguments mean here (``U = -log p``, ``eps`` their step size, ``C`` friction, ``M`` mass,
``N`` data, ``L`` integration steps; ``h``, ``G``, ``a``, ``b`` as in the kernels):

=======  ==========================================================================================
call     kernel
=======  ==========================================================================================
sgld     ``sgld``, ``h = 2 eps``.  With ``rms_prop`` their ``G = 1/(lmbd + sqrt V)``, ``V`` the
         moving mean of the squared gradient of all data, until burn-in ends, and one frozen
         ``G`` then.  Theirs follows the chain for ever: another law.
re_sgld  ``resgld``, ``h = 2 eps``, temperatures 1 and ``temperature``.  Theirs swaps when the test
         says no and keeps when it says yes, and its variance is that of single likelihoods.
amagold  ``amagold``, ``h = eps``, ``b = C first_step_size``, ``G = 1/M``.
sggmc    ``sggmc``, ``h = eps``, friction ``C``, ``G = 1/M``.  Theirs does not turn ``v`` round at
         a rejection, so that its test does not keep the law.
sghmc    ``sghmc``, ``h = eps^2``, ``G = 1/M``, ``a = min(1, C first_step_size / M + 2/L)``.
         Theirs scales the noise by ``C`` instead of its root, a temperature between 1 and ``C``,
         and draws a new momentum before a full Euler step, one of ``L/(L-1)`` however small
         ``eps`` is.  The ``2/L`` diffuses like that momentum and changes no law.
obabo    ``obabo``, ``h = eps``, friction ``C``, ``G = 1/M``.
=======  ==========================================================================================

Common to all:

- One iteration of ``amagold``, ``sggmc``, ``sghmc`` and ``obabo`` is ``L`` inner steps.
- Step sizes fall from first to last over the iterations with exponent 0.33; equal ones stay
  (theirs are NaN).
- ``accepted_samples`` draws are spread evenly over the iterations after ``burn_in``; theirs are
  picked at random.
- Chains run in one program with keys of their own.  Theirs share one key, and equal starts give
  equal chains.
- ``cache_size`` has no effect: data live on the device as long as they fit.
- A model state goes to every evaluation as it is, and into the result.

A solver takes, besides its starts, ``init_model_state``, ``iterations`` and ``key``, which
JaxSGMC has not: ``jax.random.key(0)`` by default.  It returns a list over chains of
``{"sample_count": n, "samples": {"variables": ..., "model_state": ..., ...}}`` with a leading
axis of draws, and warns of chains that failed.  Among the samples are besides

- of ``sgld`` and ``re_sgld`` the ``likelihood``: the estimated log density, averaged since the
  last draw;
- of ``sghmc`` and ``obabo`` the ``energy``: minus that;
- of ``amagold`` and ``sggmc`` the ``energy``: minus the log density on all data; and
  ``acceptance_ratio`` and ``step_size``, averaged since the last draw;
- of ``sggmc`` the ``potential``, which is the ``energy``, and the ``kinetic_energy``.
"""

from jax_sgmc import data, potential
from jax_sgmc.data.numpy_loader import DeviceNumpyDataLoader, NumpyDataLoader

from samplers.jax_sgmc import alias
from samplers.jax_sgmc.alias import amagold, obabo, re_sgld, sggmc, sghmc, sgld

__all__ = [
    "DeviceNumpyDataLoader",
    "NumpyDataLoader",
    "alias",
    "amagold",
    "data",
    "obabo",
    "potential",
    "re_sgld",
    "sggmc",
    "sghmc",
    "sgld",
]
