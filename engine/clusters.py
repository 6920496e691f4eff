"""Features → groups of pictures that could be edits of one another (arXiv 2410.00086, section 3).

K-means brings alike pictures near, so that only pictures of one cluster are compared. Then union-find in two turns: what is
very similar is linked, and the groups that result are joined where their medoids are similar enough. Everything is computed in
blocks: BLOCK similarities at a time, beside 4 · each + 4 bytes per picture and 12 per link.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .ace import errors
from .settings import Pairing

PER_CLUSTER = 500  # pictures
SAMPLE = 32  # pictures per cluster that K-means learns from
ITERATIONS = 12
BLOCK = 2**22  # similarities held at a time: 16 MB
MOST_LINKS = 50_000_000  # 600 MB


class ClusterError(errors.InputError):
    """Features that cannot be grouped as the settings want it."""


@dataclass(frozen=True, eq=False)
class Links:
    """Pairs of similar pictures: one < other, (n,) int32 each, and their similarity (n,) float32."""

    one: np.ndarray
    other: np.ndarray
    similarity: np.ndarray

    def __len__(self) -> int:
        return len(self.one)


def clustered(features: np.ndarray, settings: Pairing) -> np.ndarray:
    """(n, d) of length 1 → (n, each) int32: the nearest clusters of every picture, nearest first."""
    count = len(features)
    clusters = settings.clusters or max(1, round(count / PER_CLUSTER))
    clusters = min(clusters, count, 4096)
    each = min(settings.each, clusters)
    if clusters == 1:
        return np.zeros((count, 1), np.int32)
    rng = np.random.default_rng(settings.seed)
    chosen = np.sort(rng.choice(count, min(count, SAMPLE * clusters), replace=False))
    centers, _ = kmeans2(np.asarray(features[chosen], np.float32), clusters, ITERATIONS, minit="points", missing="warn",
                         rng=rng) if len(chosen) > clusters else (np.asarray(features[chosen], np.float32), None)
    half = (centers**2).sum(1) / 2
    out = np.empty((count, each), np.int32)
    rows = max(1, BLOCK // clusters)
    for start in range(0, count, rows):
        nearness = np.asarray(features[start:start + rows], np.float32) @ centers.T - half  # larger is nearer
        best = np.argpartition(nearness, -each, axis=1)[:, -each:] if each < clusters else \
            np.broadcast_to(np.arange(clusters), nearness.shape)
        order = np.argsort(-np.take_along_axis(nearness, best, 1), axis=1, kind="stable")
        out[start:start + rows] = np.take_along_axis(best, order, 1)
    return out


def links(features: np.ndarray, homes: np.ndarray, least: float, tick: Callable[[int], None] = lambda count: None) -> Links:
    """All pairs within one of their clusters whose similarity is at least `least`, each once.

    features (n, d) of length 1 · homes (n, each): clusters of the pictures · tick: called with the pictures of each cluster.
    Raises ClusterError for more than MOST_LINKS.
    """
    homes = np.sort(homes, axis=1)
    found, total = [], 0
    for members in clusters_of(homes):
        for one, other, similarity in within(features, members, least):
            # A pair of two common clusters is found in both: the first one counts.
            shared = homes[one][:, :, None] == homes[other][:, None, :]
            first = np.where(shared.any(2), homes[one], np.iinfo(np.int32).max).min(1)
            keep = first == members.cluster
            found.append((one[keep], other[keep], similarity[keep]))
            total += int(keep.sum())
            if total > MOST_LINKS:
                raise ClusterError(f"more than {MOST_LINKS:,} pairs are as similar as {least:g}: raise strict and loose, or "
                                   "use features that tell more apart.")
        tick(len(members.rows))
    empty = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
    return Links(*(np.concatenate(parts) for parts in zip(empty, *found, strict=True)))


@dataclass(frozen=True, eq=False)
class Cluster:
    cluster: int
    rows: np.ndarray


def clusters_of(homes: np.ndarray) -> Iterator[Cluster]:
    """homes (n, each) → every cluster with its pictures, in ascending order."""
    flat = homes.ravel()
    order = np.argsort(flat, kind="stable")
    edges = np.flatnonzero(np.diff(flat[order])) + 1
    for part in np.split(order, edges):
        yield Cluster(int(flat[part[0]]), np.unique(part // homes.shape[1]).astype(np.int32))


def within(features: np.ndarray, members: Cluster, least: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of a cluster in blocks: (one, other, similarity) with one < other."""
    rows = members.rows
    high = max(1, min(len(rows), int(BLOCK**0.5)))
    for top in range(0, len(rows), high):
        above = np.asarray(features[rows[top:top + high]], np.float32)
        for left in range(top, len(rows), high):
            beside = above if left == top else np.asarray(features[rows[left:left + high]], np.float32)
            similarity = above @ beside.T
            i, j = np.nonzero(similarity >= least)
            if left == top:
                i, j = i[i < j], j[i < j]
            if len(i):
                yield rows[top + i], rows[left + j], np.minimum(similarity[i, j], 1.0)


# ---- union-find

def grouped(features: np.ndarray, homes: np.ndarray, settings: Pairing, tick: Callable[[int], None] = lambda count: None
            ) -> tuple[np.ndarray, Links]:
    """(n,) int32: a group's number for every picture, and the links of the first turn and below, down to `loose`.

    First turn: pictures linked by at least `strict`, and whatever hangs together by such links. Second turn: groups whose
    medoids are at least `loose` alike.
    """
    near = links(features, homes, settings.loose, tick)
    strict = near.similarity >= settings.strict
    first = joined(len(features), near.one[strict], near.other[strict])
    center = medoids(features, first)
    is_center = np.zeros(len(features), bool)
    is_center[center] = True
    both = is_center[near.one] & is_center[near.other]
    second = joined(len(center), first[near.one[both]], first[near.other[both]])
    return second[first], near


def joined(count: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(count,) int32: numbers of the connected components."""
    graph = coo_array((np.ones(len(one), bool), (one, other)), (count, count))
    return connected_components(graph.tocsr(), directed=False)[1].astype(np.int32)


def medoids(features: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(g,) int32: of every group the picture that is most similar to all of it. groups (n,): numbers from 0."""
    out = np.empty(int(groups.max()) + 1, np.int32)
    out[groups[::-1]] = np.arange(len(groups), dtype=np.int32)[::-1]  # the first of each: no other is better in a group of two
    for group, rows in members(groups, 3):
        own = np.asarray(features[rows], np.float32)
        out[group] = rows[np.argmax(own @ own.sum(0))]
    return out


def members(groups: np.ndarray, least: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    """The number and the pictures, in ascending order, of every group that has at least `least`."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order[0]] - 1))
    counts = np.diff(starts, append=len(order))
    for start, count in zip(starts[counts >= least].tolist(), counts[counts >= least].tolist(), strict=True):
        rows = order[start:start + count]
        yield int(groups[rows[0]]), rows
