"""Chemical symbols, as a user writes and reads them."""

from collections.abc import Iterable

from bayespot.errors import UserError


def atomic_number(symbol: str, where: str) -> int:
    """Of a chemical symbol found at ``where``.

    Raises:
        UserError: no element has it.
    """
    from ase.data import atomic_numbers

    if symbol not in atomic_numbers:
        raise UserError(f"{symbol} is no element", f"Change {where}")
    return atomic_numbers[symbol]


def symbols(numbers: Iterable[int]) -> str:
    """Symbols of atomic numbers, in order of number."""
    from ase.data import chemical_symbols

    return ", ".join(chemical_symbols[z] for z in sorted(numbers))
