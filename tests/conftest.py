"""Shape annotations become run-time checks here, and only here."""

import os

import jax
import pytest
from jaxtyping import install_import_hook

_HOOK = install_import_hook(["bayespot", "samplers"], "beartype.beartype")

# One dtype, no silent rank promotion surprises: what the library promises users.
jax.config.update("jax_default_prng_impl", "threefry2x32")


def pytest_configure(config):
    """Programs of most tests run for milliseconds: their compilation, half of all time, is made
    twice as fast without most optimisations, and by XLA's former emitters (which jax 0.12 lacks).
    Slow tests have the defaults."""
    if config.option.markexpr != "not slow":
        return
    if jax.__version_info__ < (0, 11):
        flags = (os.environ.get("XLA_FLAGS", ""), "--xla_cpu_use_fusion_emitters=false")
        os.environ["XLA_FLAGS"] = " ".join(flags).strip()
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # of commands
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def x64():
    """Float64 for analytic comparisons."""
    with jax.enable_x64(True):
        yield


def _compile(fast):
    before = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1"
    jax.config.update("jax_disable_most_optimizations", fast)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def compile_fast():
    """For programs that run for milliseconds and compile for seconds."""
    yield from _compile(True)


@pytest.fixture(scope="module")
def compile_module_fast():
    """The same for a whole file and its fixtures, where results are compared bit by bit."""
    yield from _compile(True)


@pytest.fixture(scope="module")
def compile_module_well():
    """For a file whose programs run for longer than their compilation takes."""
    yield from _compile(False)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Each compiled program holds memory maps, of which a process may have 65 530: the whole
    suite in two processes has had more, and LLVM then aborts."""
    yield
    jax.clear_caches()
