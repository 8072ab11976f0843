"""The consent room's SQL, compiled once; a fresh house for each test."""

from collections.abc import Iterator

import pytest

from tests.consent.consent_house import CompiledModels, ConsentHouse, compile_models


@pytest.fixture(scope="session")
def consent_models(tmp_path_factory: pytest.TempPathFactory) -> CompiledModels:
    return compile_models(tmp_path_factory.mktemp("consent"))


@pytest.fixture
def house(consent_models: CompiledModels) -> Iterator[ConsentHouse]:
    house = ConsentHouse(consent_models)
    yield house
    house.close()
