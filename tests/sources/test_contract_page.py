"""The input contract is whole, and its page says what the models say."""

from cx_pipeline.settings import PROJECT_DIR
from cx_pipeline.sources.contract import contract_page, entity_contract
from cx_pipeline.warehouse.identity_rules import IDENTIFIER_TYPES


def test_the_committed_page_is_current() -> None:
    page = PROJECT_DIR / "docs" / "input_contract.md"
    assert page.read_text(encoding="utf-8") == contract_page()


def test_every_entity_has_one_key_that_is_required() -> None:
    assert len(entity_contract()) == 22
    for entity in entity_contract().values():
        assert [column.name for column in entity.columns.values() if column.is_key] == [entity.key]
        assert entity.key in entity.required
        assert entity.description.startswith("One row per ")


def test_identifiers_are_text_wherever_they_stand() -> None:
    for entity in entity_contract().values():
        for name in IDENTIFIER_TYPES:
            assert name not in entity.columns or entity.columns[name].data_type == "varchar"
