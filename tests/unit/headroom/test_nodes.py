"""So many nodes hold all pods, wherever a scheduler puts them; and one less does not always."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwallet.headroom.nodes import Node, Pods, nodes_per_zone
from cellwallet.headroom.sound import HeadroomMustBeSoundError

SIZES = st.sampled_from([0.5, 1, 1.5, 2, 4])
KINDS = st.lists(st.tuples(st.integers(1, 6), SIZES, SIZES), min_size=1, max_size=4)
NODE = Node(cores=7.5, memory_gib=6)


def pods_of(kinds: list[tuple[int, float, float]]) -> list[Pods]:
    return [Pods(count=count, cores=cores, memory_gib=memory) for count, cores, memory in kinds]


@given(kinds=KINDS, chance=st.randoms(use_true_random=False))
def test_every_pod_finds_a_place_in_whatever_order_and_on_whichever_node(
    kinds: list[tuple[int, float, float]], chance: random.Random
) -> None:
    nodes = nodes_per_zone(pods_of(kinds), node=NODE, missing=0)
    coming = [(cores, memory) for count, cores, memory in kinds for _ in range(count)]
    chance.shuffle(coming)
    used = [[0.0, 0.0] for _ in range(nodes)]
    for cores, memory in coming:
        fits = [one for one in used if one[0] + cores <= NODE.cores and one[1] + memory <= NODE.memory_gib]
        assert fits, (kinds, coming, used)
        chosen = chance.choice(fits)
        chosen[0] += cores
        chosen[1] += memory


@pytest.mark.parametrize(
    ("pods", "nodes"),
    [
        ([(15, 2, 1)], 5),  # three on a node; 30 cores over 7.5 would be four
        ([(1, 7.5, 1)], 1),
        ([(3, 7.5, 1)], 3),
        ([(4, 1, 1)], 1),
        ([(7, 1, 0.5)], 1),
        ([(8, 1, 0.5)], 2),
        ([(1, 4, 4), (6, 0.5, 1)], 1),
    ],
)
def test_worked_examples(pods: list[tuple[int, float, float]], nodes: int) -> None:
    assert nodes_per_zone(pods_of(pods), node=Node(cores=7.5, memory_gib=28), missing=0) == nodes


def test_one_node_less_leaves_a_pod_without_a_place() -> None:
    """15 pods of two cores: the bound is five nodes, and four hold twelve."""
    assert nodes_per_zone(pods_of([(15, 2, 1)]), node=Node(cores=7.5, memory_gib=28), missing=0) == 5
    assert 4 * int(7.5 // 2) < 15


def test_what_may_be_missing_comes_on_top() -> None:
    alone = nodes_per_zone(pods_of([(4, 2, 1)]), node=NODE, missing=0)
    assert nodes_per_zone(pods_of([(4, 2, 1)]), node=NODE, missing=2) == alone + 2


@given(kinds=KINDS)
def test_more_pods_never_need_fewer_nodes(kinds: list[tuple[int, float, float]]) -> None:
    before = nodes_per_zone(pods_of(kinds), node=NODE, missing=1)
    (count, cores, memory), *others = kinds
    assert nodes_per_zone(pods_of([(count + 1, cores, memory), *others]), node=NODE, missing=1) >= before


@pytest.mark.parametrize(
    ("pods", "missing", "told"),
    [
        ([(1, 8, 1)], 0, "a node must have at least 8 cores for pods"),
        ([(1, 1, 7)], 0, "a node must have at least 7 GiB of memory for pods"),
        ([(1, 1, 1)], -1, "missing nodes must be at least 0, not -1"),
        ([], 0, "kinds of pods must be at least 1"),
    ],
)
def test_what_no_zone_can_have_is_refused(pods: list[tuple[int, float, float]], missing: int, told: str) -> None:
    with pytest.raises(HeadroomMustBeSoundError, match=told):
        nodes_per_zone(pods_of(pods), node=NODE, missing=missing)


@pytest.mark.parametrize("pods", [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_pods_must_be_some(pods: tuple[int, float, float]) -> None:
    with pytest.raises(HeadroomMustBeSoundError, match="pod"):
        pods_of([pods])
