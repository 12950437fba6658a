"""The calibration set of an index: products asked as if they were not stored, and the calibration fitted to them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rubrika.errors import IndexFolderError
from rubrika.index.manifest import Calibration, Fit, VoteSettings
from rubrika.retrieve.confidence import MIN_ROWS, evidence, fit, nearest, similarities
from rubrika.retrieve.tree import NO_NODE, Tree
from rubrika.store.base import Hits
from rubrika.vote import vote_over, with_reach

FILE = "calibration.safetensors"
KEPT = 32  # so many hits of each product are kept: as many as tuning lets vote

Ids = NDArray[np.uint64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CalibrationSet:
    """n products with their hits among the others; no encoder that made them had learned from the product."""

    ids: Ids  # (n,), ascending
    truth: IntArray  # their categories, (n,)
    groups: IntArray  # equal for near duplicates, (n,)
    hits: Mapping[str, Hits]  # by named vector that votes, (n, KEPT), without ids
    unseen: Mapping[str, Mask]  # whether that encoder had not learned from the category of a hit, (n, KEPT)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def none(cls, names: Iterable[str]) -> "CalibrationSet":
        """No products, with hits of these named vectors."""
        hits, none = {name: Hits.none(0, KEPT) for name in names}, np.zeros(0, np.int64)
        return cls(none.astype(np.uint64), none, none, hits, {name: np.zeros((0, KEPT), bool) for name in hits})

    def voting(self, vote: VoteSettings) -> dict[str, Hits]:
        """The hits that vote, nearer those of unseen categories."""
        return {
            name: with_reach(self.hits[name], self.unseen[name], vote.unseen_reach).first(vote.top_k)
            for name in vote.weights
        }

    def rows(self, chosen: Mask) -> "CalibrationSet":
        """Some of the products, those marked in `chosen` (n,)."""
        hits = {name: found.rows(chosen) for name, found in self.hits.items()}
        unseen = {name: mask[chosen] for name, mask in self.unseen.items()}
        return CalibrationSet(self.ids[chosen], self.truth[chosen], self.groups[chosen], hits, unseen)

    def joined(self, other: "CalibrationSet") -> "CalibrationSet":
        """Both, of a product in both the other's, by id."""
        mine = self.rows(~np.isin(self.ids, other.ids))
        ids, truth, groups = (
            np.concatenate([getattr(each, name) for each in (mine, other)]) for name in ("ids", "truth", "groups")
        )
        hits = {name: Hits.joined([mine.hits[name], other.hits[name]]) for name in self.hits}
        unseen = {name: np.concatenate([mine.unseen[name], other.unseen[name]]) for name in self.hits}
        return CalibrationSet(ids, truth, groups, hits, unseen).sorted()

    def sorted(self) -> "CalibrationSet":
        """The same by id, so that a fit does not depend on the order of rows."""
        order = np.argsort(self.ids, kind="stable")
        hits = {name: Hits(it.ids[order], it.scores[order], it.categories[order]) for name, it in self.hits.items()}
        unseen = {name: mask[order] for name, mask in self.unseen.items()}
        return CalibrationSet(self.ids[order], self.truth[order], self.groups[order], hits, unseen)

    def save(self, folder: Path) -> None:
        """Write it into a folder of an index."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[np.generic]] = {"ids": self.ids, "truth": self.truth, "groups": self.groups}
        for name, found in self.hits.items():
            arrays |= {f"{name}.scores": found.scores, f"{name}.categories": found.categories}
            arrays[f"{name}.unseen"] = self.unseen[name]
        fresh = folder / f"{FILE}.new"
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, fresh)
        fresh.replace(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "CalibrationSet | None":
        """Read what `save` wrote; None when there is none, IndexFolderError when it is damaged."""
        path = folder / FILE
        try:
            arrays = load_file(path)
            names = sorted(key.removesuffix(".scores") for key in arrays if key.endswith(".scores"))
            scores = {name: arrays[f"{name}.scores"] for name in names}
            hits = {
                name: Hits(np.zeros(each.shape, np.uint64), each, arrays[f"{name}.categories"])
                for name, each in scores.items()
            }
            unseen = {name: arrays[f"{name}.unseen"] for name in names}
            return cls(arrays["ids"], arrays["truth"], arrays["groups"], hits, unseen)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            advice = "delete it and run `rubrika learn`, which makes it anew"
            raise IndexFolderError(f"{path}: not a calibration set ({error}); {advice}") from None

    def fitted(self, vote: VoteSettings, tree: Tree, calibration: Calibration) -> Calibration:
        """The calibration of this set, for leaves and every level of the tree; of few products there is none."""
        if len(self) < MIN_ROWS:
            return calibration
        counts = replace(calibration, rows=len(self), groups=len(np.unique(self.groups)))
        hits = {name: found.first(vote.top_k) for name, found in self.hits.items() if name in vote.weights}
        votes = vote_over(self.voting(vote), vote)
        groups = np.unique(self.groups, return_inverse=True)[1]
        leaf = fit(evidence(hits, votes, vote.weights), votes.winners == self.truth, groups)
        levels = list[Fit]()
        winners, truth = tree.paths(votes.winners), tree.paths(self.truth)
        for level in range(tree.depth):
            there = winners[:, level] != NO_NODE
            if there.sum() < MIN_ROWS:
                break
            mapped, at = tree.map_to_level(hits, votes, level + 1)
            right = winners[there, level] == truth[there, level]
            proof = evidence(mapped, at, vote.weights)[there]
            levels.append(fit(proof, right, np.unique(groups[there], return_inverse=True)[1]))
        return replace(counts, leaf=leaf, levels=tuple(levels), similarities=similarities(nearest(hits)))


def unseen_of(hits: Mapping[str, Hits], seen: Mapping[str, IntArray]) -> dict[str, Mask]:
    """Which hits (n, k) are of a category that the encoder of their vector has not learned from."""
    return {
        name: ~np.isin(it.categories, seen[name]) if name in seen else np.zeros(it.scores.shape, bool)
        for name, it in hits.items()
    }
