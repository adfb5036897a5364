"""Shape annotations become run-time checks here, and only here."""

import os
import shutil

import jax
import pytest
from jaxtyping import install_import_hook

_HOOK = install_import_hook(["bayespot", "samplers"], "beartype.beartype")

# One dtype, no silent rank promotion surprises: what the library promises users.
jax.config.update("jax_default_prng_impl", "threefry2x32")


def pytest_configure(config):
    """Programs of most tests run for milliseconds: their compilation, half of all time, is made
    twice as fast by XLA's former emitters (which jax 0.12 lacks).  Slow tests have the default."""
    if config.option.markexpr == "not slow" and jax.__version_info__ < (0, 11):
        flags = (os.environ.get("XLA_FLAGS", ""), "--xla_cpu_use_fusion_emitters=false")
        os.environ["XLA_FLAGS"] = " ".join(flags).strip()
    _keep_programs(config)


def _keep_programs(config):
    """On disk, for other files, commands and later runs: half of what is left is compilation."""
    cache = getattr(config, "cache", None)
    if cache is None or "JAX_COMPILATION_CACHE_DIR" in os.environ:  # a worker's, or the user's
        return
    folder = cache.mkdir("programs")
    if sum(entry.stat().st_size for entry in os.scandir(folder)) > 2e9:  # of old sources
        shutil.rmtree(folder)
    for name, value in (
        ("jax_compilation_cache_dir", str(folder)),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
    ):
        os.environ[name.upper()] = str(value)  # workers and commands are other processes
        jax.config.update(name, value)


@pytest.fixture
def x64():
    """Float64 for analytic comparisons."""
    with jax.enable_x64(True):
        yield


def _fast():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def compile_fast():
    """For programs that run for milliseconds and compile for seconds."""
    yield from _fast()


@pytest.fixture(scope="module")
def compile_module_fast():
    """The same for a whole file and its fixtures, where results are compared bit by bit."""
    yield from _fast()


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Each compiled program holds memory maps, of which a process may have 65 530: the whole
    suite in two processes has had more, and LLVM then aborts."""
    yield
    jax.clear_caches()
