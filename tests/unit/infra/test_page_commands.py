"""A page's commands are found, each is run or says why not, and what it says of itself is held against what happens."""

from pathlib import Path

import pytest
import typer
from page_commands import Block, PageMustBeRunnableError, Shell, blocks_of, commands_of

from cellwallet.__main__ import app

PAGE = Path(__file__).parents[3] / "docs" / "running" / "fleet_on_kubernetes.md"
BLOCKS = blocks_of(PAGE.read_text())
MARKED = [block for block in BLOCKS if block.meaning == "needs running pods"]


def block(script: str) -> Block:
    (found,) = blocks_of(f"```sh\n{script}\n```\n")
    return found


def test_the_page_has_blocks_of_each_kind() -> None:
    assert {one.meaning for one in BLOCKS} == {"runs", "is refused", "needs running pods"}
    assert sum(one.meaning == "runs" for one in BLOCKS) > len(MARKED)


@pytest.mark.parametrize("page", [PAGE.read_text()])
def test_every_fence_of_the_page_is_a_block(page: str) -> None:
    assert page.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("marked", MARKED, ids=lambda one: f"line {one.line}")
def test_what_is_not_run_is_spelt_as_the_command_line_wants_it(marked: Block) -> None:
    """Of `cellwallet`: verbs, options and their values, without doing anything."""
    for words in commands_of(marked, "cellwallet"):
        parse(words)


def parse(words: list[str]) -> None:
    command = typer.main.get_command(app)
    context = command.make_context("cellwallet", list(words))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        _, command, rest = command.resolve_command(context, rest)
        assert command is not None, words
        context = command.make_context(command.name, rest, parent=context)


@pytest.mark.parametrize("line", ["rollouts begin", "rollouts start --lable 1", "evacuate", "evacuate a --fro 2h"])
def test_a_verb_that_is_misspelt_is_found_out(line: str) -> None:
    """The mutant: were anything taken, the test above would prove nothing."""
    with pytest.raises(Exception, match=r"(?i)no such|missing"):
        parse(line.split())


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```\nls\n```\n", "line 1: '```' must be ```sh"),
        ("```bash\nls\n```\n", "must be ```sh"),
        ("text\n\n    ls\n", "line 3: commands must be fenced"),
        ("```sh\n# some day\nls\n```\n", "line 2: '# some day' must say one of"),
        ("```sh\n# needs running pods\nls\n```\n", "and why"),
        ("```sh\nls\n", "line 1: the block must end"),
    ],
)
def test_what_would_be_neither_run_nor_marked_is_refused(page: str, complaint: str) -> None:
    with pytest.raises(PageMustBeRunnableError) as refusal:
        blocks_of(page)
    assert complaint in str(refusal.value)


def test_one_block_knows_what_the_others_exported_and_defined(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {"PATH": "/usr/bin:/bin"})
    first = shell.run(block('export NUMBER=3\ngreet() { echo "hello $1"; }'))
    second = shell.run(block('greet "$NUMBER"'))
    assert first.is_as_meant
    assert (second.code, second.output) == (0, "hello 3\n")


@pytest.mark.parametrize(
    ("script", "is_as_meant"),
    [
        ("true", True),
        ("false\ntrue", False),
        ("false | true", False),
        ('echo "$UNKNOWN"', False),
        ("# is refused: it fails\nfalse", True),
        ("# is refused: it should\ntrue", False),
    ],
)
def test_a_failure_anywhere_in_a_block_is_one(tmp_path: Path, script: str, *, is_as_meant: bool) -> None:
    assert Shell(tmp_path, {"PATH": "/usr/bin:/bin"}).run(block(script)).is_as_meant == is_as_meant


def test_words_are_read_as_a_shell_reads_them() -> None:
    script = "# needs running pods: so\ncellwallet a \\\n  --b 'c d' # why\nkubectl x &\ncellwallet e"
    assert commands_of(block(script), "cellwallet") == [["a", "--b", "c d"], ["e"]]
