"""NYUv2 and Cityscapes from .npy files in the layout of LibMTL, made here."""

from pathlib import Path

import numpy as np
import pytest
import torch

import mtl


def write(root: Path, name: str, height: int = 12, width: int = 16) -> None:
    draw, kinds = np.random.default_rng(0), ["label", "depth"] + ["normal"] * (name == "nyuv2")
    for part, count in (("train", 8), ("val", 3)):
        for kind in ("image", *kinds):
            (root / part / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            files = {
                "image": draw.random((height, width, 3)),
                "label": draw.integers(-1, 7, (height, width)).astype(float),
                "depth": draw.uniform(1, 9, (height, width, 1)),
                "normal": draw.normal(size=(height, width, 3)),
            }
            files["depth"][:2] = 0
            files["normal"][:2] = 0
            for kind in ("image", *kinds):
                np.save(root / part / kind / f"{number}.npy", files[kind])


@pytest.mark.parametrize(("name", "tasks"), [("nyuv2", 3), ("cityscapes", 2)])
def test_folders_become_dense_tasks(tmp_path: Path, name: str, tasks: int) -> None:
    write(tmp_path, name)
    data = mtl.dataset(name, root=tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [7, 1, 3]
    assert len(data.tasks) == tasks
    assert data.test.inputs.shape == (3, 3, 12, 16)
    pixels = np.load(tmp_path / "val" / "image" / "2.npy")
    torch.testing.assert_close(data.test.inputs[2], torch.from_numpy(pixels).permute(2, 0, 1).float())
    assert data.test.targets["segmentation"].dtype == torch.int64
    depth = data.test.targets["depth"]
    assert depth[:, :2].isnan().all()
    assert not depth[:, 2:].isnan().any()
    if name == "nyuv2":
        normal = data.test.targets["normal"]
        assert normal[:, :, :2].isnan().all()
        torch.testing.assert_close(normal[:, :, 2:].norm(dim=1), torch.ones(3, 10, 16))
    for task in data.tasks:
        task.check(data.train.targets[task.name], 7)


def test_shrinking_keeps_labels_and_pictures_together(tmp_path: Path) -> None:
    write(tmp_path, "nyuv2", height=13, width=16)
    whole, half = (mtl.dataset("nyuv2", root=tmp_path, shrink=k) for k in (1, 2))
    assert half.test.inputs.shape == (3, 3, 6, 8)
    torch.testing.assert_close(half.test.inputs[:, :, 0, 0], whole.test.inputs[:, :, :2, :2].mean(dim=(2, 3)))
    assert torch.equal(
        half.test.targets["segmentation"], whole.test.targets["segmentation"][:, ::2, ::2][:, :6]
    )


def test_they_train(tmp_path: Path) -> None:
    write(tmp_path, "cityscapes", height=16)
    data = mtl.dataset("cityscapes", root=tmp_path)
    with mtl.seeded(0):
        model = mtl.MultiTaskModel(mtl.backbone("pyramid/convnet", in_channels=3), data.tasks)
    result = mtl.fit(model, data.train, data.validation, steps=2, batch_size=4)
    assert set(mtl.evaluate(result.model, data.test)) == {"segmentation", "depth"}


def test_mistakes_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"'nyuv2': there is no folder .*image; get the \.npy files from"
    ):
        mtl.dataset("nyuv2", root=tmp_path)
    for kind, content, message in (
        (
            "label",
            np.full((12, 16), 13.0),
            r"label.1\.npy: task 'segmentation': classes of pixels must be in 0\.\.12",
        ),
        ("label", np.zeros((12, 16, 1)), r"label.1\.npy must be numbers \[H, W\], got float64 \[12, 16, 1\]"),
        ("depth", np.zeros((10, 16, 1)), r"depth.1\.npy is of \[10, 16\] pixels, 0\.npy of \[12, 16\]"),
        ("image", np.zeros((12, 16, 4)), r"image.1\.npy must be numbers \[H, W, 3\]"),
    ):
        write(tmp_path, "nyuv2")
        np.save(tmp_path / "train" / kind / "1.npy", content)
        with pytest.raises(ValueError, match=message):
            mtl.dataset("nyuv2", root=tmp_path)
    write(tmp_path, "nyuv2")
    file = tmp_path / "val" / "normal" / "1.npy"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"normal.1\.npy cannot be read \(cut off\?\)"):
        mtl.dataset("nyuv2", root=tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"normal.1\.npy is not there; it goes with 3 pictures"):
        mtl.dataset("nyuv2", root=tmp_path)
    with pytest.raises(ValueError, match="shrink must be >= 1"):
        mtl.dataset("nyuv2", root=tmp_path, shrink=0)
