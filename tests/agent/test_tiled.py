"""A large image judged tile by tile gives the score and the map of the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.inspection import AnomalyMap, Depth, Image
from agent.preprocess import InputContract, looked_at
from agent.roi import roi_of
from agent.tiled import Tiled, tiled
from agent.tiles import Tiles

TILES = Tiles(columns=3, rows=2, size=64, step=32)  # 128x96 px


class BrightestBlock:
    """A runtime whose map holds the brightest value of each 8x8 px; it counts the largest input that it was given."""

    executed_precision = "f32"

    def __init__(self) -> None:
        self.largest = 0

    def infer(self, image: Image, depth: Depth | None = None) -> tuple[float, AnomalyMap]:
        del depth
        self.largest = max(self.largest, image.shape[0] * image.shape[1])
        h, w = image.shape[0] // 8, image.shape[1] // 8
        anomaly_map = image.max(axis=2).reshape(h, 8, w, 8).max(axis=(1, 3)).astype(np.float32)
        return float(anomaly_map.max()), anomaly_map


class Broken:
    """A runtime that gives no number for one tile."""

    executed_precision = "f32"

    def infer(self, image: Image, depth: Depth | None = None) -> tuple[float, AnomalyMap]:
        del depth
        raw = float("nan") if image.max() == 255 else 1.0
        return raw, np.full((8, 8), raw, np.float32)


def contract(tiles: Tiles | None, roi: np.ndarray | None = None) -> InputContract:
    width, height = (tiles.width, tiles.height) if tiles else (64, 64)
    return InputContract(width, height, 16, 512, 16, 512, 0.1, 10, roi=None if roi is None else roi_of(roi), tiles=tiles)


@given(columns=st.integers(1, 4), rows=st.integers(1, 4), step=st.sampled_from([8, 32, 56, 64]), seed=st.integers(0, 2**32 - 1))
def test_tiles_give_the_score_and_the_map_of_the_whole(columns: int, rows: int, step: int, seed: int) -> None:
    tiles, runtime = Tiles(columns, rows, 64, step), BrightestBlock()
    image = np.random.default_rng(seed).integers(0, 256, (tiles.height, tiles.width, 3), dtype=np.uint8)

    raw, anomaly_map = tiled(runtime, contract(tiles)).infer(image)

    assert runtime.largest == 64 * 64
    whole_raw, whole_map = BrightestBlock().infer(image)
    assert raw == whole_raw
    assert np.array_equal(anomaly_map, whole_map)


def test_without_tiles_the_runtime_is_itself() -> None:
    runtime = BrightestBlock()

    assert tiled(runtime, contract(None)) is runtime


def test_a_tile_without_a_number_leaves_none_for_the_whole() -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    image[0, 0] = 255  # in the first tile, so that numbers come after it

    raw, anomaly_map = tiled(Broken(), contract(TILES)).infer(image)

    assert np.isnan(raw)
    assert np.isnan(anomaly_map).any()


def test_tiles_outside_of_the_region_are_not_looked_at() -> None:
    left = np.zeros((96, 128), np.uint8)
    left[:, :30] = 255
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, 100:] = 255  # seen by the two tiles at the right alone

    raw, anomaly_map = tiled(BrightestBlock(), contract(TILES, left)).infer(image)

    assert looked_at(contract(TILES, left)).tolist() == [True, False, False, True, False, False]
    assert raw == 0.0
    assert anomaly_map.shape == (12, 16)


@pytest.mark.parametrize("k", range(6))
def test_a_tile_is_the_piece_at_its_place(k: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    x, y = TILES.place(k)

    assert np.array_equal(TILES.cut(image, k), image[y : y + 64, x : x + 64])


def test_the_precision_is_that_of_the_runtime() -> None:
    assert Tiled(BrightestBlock(), TILES, np.ones(6, bool)).executed_precision == "f32"
