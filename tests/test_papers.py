"""What the papers promise is there: commands, files, tables, columns and examples."""

import re
from pathlib import Path

import pytest
import typer

from cx_pipeline.cli import app
from cx_pipeline.serving.catalogue import published_nodes
from cx_pipeline.settings import PROJECT_DIR, load_settings

PAPERS = [
    PROJECT_DIR / "README.md",
    PROJECT_DIR / "CONTRIBUTING.md",
    PROJECT_DIR / "CHANGELOG.md",
    *sorted((PROJECT_DIR / "docs").glob("*.md")),
]
README = PROJECT_DIR / "README.md"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Not a path of the repository as it is checked out.
PLACEHOLDER = re.compile(r"[<>*…{}]|benchmarks/results/")


def code_of(paper: Path) -> list[str]:
    """Return the lines of every code block and every code span."""
    text = paper.read_text()
    lines = [line for _, block in FENCE.findall(text) for line in block.splitlines()]
    return lines + SPAN.findall(FENCE.sub("", text))


def blocks(paper: Path, language: str) -> list[str]:
    return [block for kind, block in FENCE.findall(paper.read_text()) if kind == language]


def anchors_of(paper: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", paper.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.fixture(scope="module")
def manifest() -> dict:
    from cx_pipeline.warehouse.project import manifest_as_dict

    return manifest_as_dict(load_settings())


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_every_make_target_that_a_paper_names_exists(paper):
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_DIR / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for line in code_of(paper)
        for target in re.findall(r"^make (?:[A-Z]+=\S+ )?([a-z-]+)", line)
    }
    assert named <= targets


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_every_cx_command_and_option_that_a_paper_names_exists(paper):
    commands = typer.main.get_command(app).commands
    for line in code_of(paper):
        for name, rest in re.findall(r"(?:^|/)cx ([a-z]+)([^#]*)", line):
            assert name in commands, line
            options = {option for param in commands[name].params for option in param.opts}
            assert set(re.findall(r"--[a-z-]+", rest)) <= options | {"--help"}, line


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_every_link_inside_the_project_leads_somewhere(paper):
    for link in LINK.findall(FENCE.sub("", paper.read_text())):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (paper.parent / path).resolve() if path else paper
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_every_file_of_the_project_that_a_paper_names_exists(paper):
    folders = ("cx_pipeline/", "dbt_project/", "config/", "tests/", "docs/", "benchmarks/")
    for span in SPAN.findall(FENCE.sub("", paper.read_text())):
        if span.startswith(folders) and not PLACEHOLDER.search(span):
            assert (PROJECT_DIR / span).exists(), span


def test_the_readme_names_exactly_the_published_tables(manifest):
    published = set(published_nodes(manifest)) - {"kpis.time_spine"}
    text = README.read_text().split("**The finished tables**")[1].split("\n---\n")[0]
    named = set(re.findall(r"`([a-z_0-9]+\.[a-z_0-9]+)`", text))
    assert named == published


def test_the_columns_of_the_readmes_small_tables_exist(manifest):
    nodes = published_nodes(manifest)
    text = README.read_text()
    for table in ("identity.customer_xref", "customer_360.customers"):
        header = text.split(f"(`{table}`)\n\n")[1].splitlines()[0]
        columns = [cell.strip() for cell in header.strip("|").split("|")]
        assert set(columns) <= set(nodes[table]["columns"]), table


def test_the_readmes_sources_yml_is_one_that_validates(tmp_path):
    from cx_pipeline.sources.config import load_sources

    (tmp_path / "sources.yml").write_text(blocks(README, "yaml")[0])
    config = load_sources(load_settings(tmp_path, tmp_path))
    assert {source.is_database for source in config.sources.values()} == {True, False}


@pytest.mark.parametrize("paper", ["CONTRIBUTING.md", "docs/segments.md"])
def test_the_segment_in_a_paper_is_one_that_validates(paper, tmp_path):
    from cx_pipeline.segments.memberships import read_segments

    (tmp_path / "segments").mkdir()
    example = blocks(PROJECT_DIR / paper, "yaml")[0]
    (tmp_path / "segments" / "example.yml").write_text(example)
    assert len(read_segments(load_settings(tmp_path, tmp_path))) == 1


def test_every_word_of_a_condition_is_explained():
    from cx_pipeline.segments import conditions

    words = {*conditions.OPERATORS, *conditions.KINDS, *conditions.RfmScores.model_fields}
    for kind in conditions.JOURNEY_KINDS:
        words |= getattr(conditions, f"{kind.title()}Filter").model_fields.keys()
    page = PROJECT_DIR / "docs" / "segments.md"
    assert words <= {word for span in code_of(page) for word in span.split()}


def test_the_papers_are_not_longer_than_people_read():
    assert len((PROJECT_DIR / "CONTRIBUTING.md").read_text().splitlines()) <= 120
    assert len(README.read_text().splitlines()) <= 260
