"""The page on trainers says what the proofs prove."""

from __future__ import annotations

from tests.readers import matrix


def test_the_page_on_trainers_is_up_to_date():
    written = matrix.PAGE.read_text(encoding="utf-8")
    command = "python -m tests.readers.matrix"
    assert matrix.without_versions(written) == matrix.without_versions(matrix.page()), f"stale; run: {command}"


NO_TARGET = {
    "test_matrix",
    "test_four_attempts",
    "test_examples",
    "test_balance",
    "test_labelled",
    "test_region_classes",
}
"""What is about all targets, or about none."""


def test_every_proof_is_on_the_page():
    proofs = {path.stem for path in matrix.HERE.glob("test_*.py")} - NO_TARGET
    told = {row[-1].split("/")[-1].removesuffix(".py)") for row in matrix.rows()}
    traps = {name for name in proofs if "traps" in name}
    assert proofs - traps <= told
