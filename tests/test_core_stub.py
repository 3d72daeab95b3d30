"""The stub of the core against the core itself where stubtest does not look: the values of `kind`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from clusterbus import _core

STUB = Path(__file__).parent.parent / "python" / "clusterbus" / "_core.pyi"


def literals(text: str, alias: str) -> tuple[str, ...]:
    """The words of a `Literal` alias, in order; an alias inside it is replaced by its words."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == alias:
            assert isinstance(node.value, ast.Subscript), alias
            assert isinstance(node.value.value, ast.Name), alias
            assert node.value.value.id == "Literal", alias
            inner = node.value.slice
            words: tuple[str, ...] = ()
            for element in inner.elts if isinstance(inner, ast.Tuple) else [inner]:
                if isinstance(element, ast.Name):
                    words += literals(text, element.id)
                else:
                    assert isinstance(element, ast.Constant), ast.unparse(element)
                    assert isinstance(element.value, str), element.value
                    words += (element.value,)
            return words
    raise AssertionError(f"the stub has no alias {alias}")


@pytest.mark.parametrize(
    ("alias", "words"),
    [("_LossReason", _core.LOSS_REASONS), ("_RefusalReason", _core.REFUSAL_REASONS)],
)
def test_the_stub_names_every_reason_there_is_and_no_other(alias: str, words: tuple[str, ...]) -> None:
    assert literals(STUB.read_text(), alias) == words


def test_a_kind_is_typed_by_its_alias() -> None:
    classes = {node.name: node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ClassDef)}
    for name, alias in (("LinkLost", "_LossReason"), ("AcceptRefused", "_RefusalReason")):
        (kind,) = [node for node in classes[name].body if isinstance(node, ast.FunctionDef) and node.name == "kind"]
        assert kind.returns is not None
        assert ast.unparse(kind.returns) == alias


def test_a_missing_or_a_made_up_word_is_seen() -> None:
    text = "_Inner: T = Literal['eof', 'error']\n_Outer: T = Literal[_Inner, 'tls']\n_One: T = Literal['eof']"
    assert literals(text, "_Outer") == ("eof", "error", "tls")
    assert literals(text, "_One") == ("eof",)
    with pytest.raises(AssertionError, match="no alias _Other"):
        literals(text, "_Other")
