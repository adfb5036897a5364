"""One sentence on how to read each metric."""

READING: dict[str, tuple[str, str, str]] = {
    "rmse": (
        "RMSE",
        "0",
        "How wrong the mean over members is, large errors counting most; of force vectors "
        "the length of the error.",
    ),
    "mae": (
        "MAE",
        "0",
        "The average absolute error of the mean over members.",
    ),
    "nll": (
        "NLL",
        "small",
        "Negative log likelihood, nats a number: compare methods on the same data by it; "
        "one error far outside its interval can ruin it.",
    ),
    "crps": (
        "CRPS (standard)",
        "0",
        "Error and stated spread in one, in the unit, of the predictive distribution "
        "(Student's t over the members, the Gaussian for many): the smaller the better, and"
        " as small as the MAE where nothing is uncertain.",
    ),
    "crps_fair": (
        "CRPS (fair, of the ensemble)",
        "0",
        "The same judged from the members themselves, without a distribution fitted to "
        "them, and comparable between ensembles of different size.",
    ),
    "coverage_50": (
        "inside 50 %",
        "50 %",
        "Fraction of truths in the 50 % interval: more means intervals are too wide, less "
        "too narrow.",
    ),
    "coverage_68": (
        "inside 68 %",
        "68 %",
        "Fraction of truths in the 68 % interval, of one standard deviation where nothing "
        "but Gaussian noise is uncertain.",
    ),
    "coverage_90": (
        "inside 90 %",
        "90 %",
        "Fraction of truths in the 90 % interval.",
    ),
    "coverage_95": (
        "inside 95 %",
        "95 %",
        "Fraction of truths in the 95 % interval: at 80 % one error in five is outside "
        "where one in twenty was announced.",
    ),
    "miscalibration_area": (
        "miscalibration area",
        "0",
        "Mean gap between announced and observed coverage over all levels; a half is the "
        "worst, and some is left by chance even when all is right.",
    ),
    "mean_squared_z": (
        "mean squared z",
        "1",
        "Squared error over predicted variance (of few members, of the normal deviate that is as "
        "rare): above 1 errors are larger than announced, and the factor of the verdict says how "
        "much.",
    ),
    "chi2": (
        "χ²/3",
        "1",
        "Squared length of the force error measured in its own 3×3 covariance, a third of "
        "it: 1 where size and direction are right.",
    ),
    "ence": (
        "ENCE",
        "0",
        "Expected normalised calibration error: the mean relative gap between predicted and"
        " found error over bins of predicted error; it is above 0 even for perfect "
        "uncertainties, so compare it with what chance gives on this many numbers.",
    ),
    "sharpness": (
        "sharpness",
        "small",
        "Root mean square of the predicted standard deviations: of two calibrated methods "
        "the sharper one says more.",
    ),
    "spearman": (
        "Spearman correlation",
        "high",
        "Whether larger uncertainties come with larger errors: even perfect uncertainties "
        "stay well below 1, because errors are random, and where all are equally uncertain "
        "0 is right.",
    ),
    "ause": (
        "AUSE",
        "0",
        "Area between the error left when the least certain numbers are removed and when "
        "the worst are, over the RMSE: 0 would need to know each error, and perfect "
        "uncertainties that are all alike have about 0.5.",
    ),
    "ood_auroc": (
        "OOD AUROC",
        "1",
        "Chance that a frame from outside the training distribution is more uncertain than "
        "one from inside; 0.5 is guessing.",
    ),
}
"""Metric -> label, best value, one sentence."""
