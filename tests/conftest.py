"""Shape annotations become run-time checks here, and only here."""

import jax
import pytest
from jaxtyping import install_import_hook

_HOOK = install_import_hook(["bayespot", "samplers"], "beartype.beartype")

# One dtype, no silent rank promotion surprises: what the library promises users.
jax.config.update("jax_default_prng_impl", "threefry2x32")


@pytest.fixture
def x64():
    """Float64 for analytic comparisons."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def compile_fast():
    """For programs that run for milliseconds and compile for seconds."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Each compiled program holds memory maps, of which a process may have 65 530: the whole
    suite in two processes has had more, and LLVM then aborts."""
    yield
    jax.clear_caches()
