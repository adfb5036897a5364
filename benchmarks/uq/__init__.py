"""Do intervals tell the truth, do uncertainties grow with errors, and what does it cost?

``python -m benchmarks.uq --setting quick --out DIR [--only coverage dft route bands]``

``coverage`` learns a known potential from many independent training sets and counts how often the
intervals of what is simulated hold the known answer; ``dft`` asks of real labels whether the
uncertainty grows with the error where the data end; ``bands`` asks of a coarse-grained fluid
whether several modes widen bands to cover, cold posteriors keep simulations stable, and a potential
that sees ``k_B T`` covers pressures at other temperatures; ``route`` times the way from a file of
labels to a report, beside apax's ensembles.  What is finished is kept in ``runs/uq``: a run that
was killed goes on, and one with a method more makes that method only.  ``--cases peroxide`` leaves
out the other cases of ``coverage``; ``bands`` and ``peroxide`` take too long for a quick run of
everything, and are made where they are asked for.

Your own method is one function, and one option brings it into every table of ``coverage``:

    def method(key, train, validation):    # jax key, bayespot.posterior.Posterior, data.Batch
        how = infer.Sampling(chains=8, draws=1, burn_in=500, thinning=50)
        return infer.sample(key, train, how, validation)   # Draws, or parameters: leading draw axis

    python -m benchmarks.uq --only coverage --method my_module:method
"""
