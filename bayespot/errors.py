"""The one exception users are meant to see: what is wrong, where, and what to do."""


class UserError(ValueError):
    """A mistake in the input: one sentence on what and where, one on the fix."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}. {fix}.")
        self.problem = problem
        self.fix = fix
