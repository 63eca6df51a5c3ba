"""Data sets of pictures, read from files in their true layout made here, and the mistakes they are met with."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mtl


def idx(file: Path, array: np.ndarray) -> None:
    """The format of MNIST's files."""
    file.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    file.write_bytes(head + array.astype(np.uint8).tobytes())


def mnist(root: Path, name: str = "MNIST", rows: int = 40, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    pixels = draw.integers(1, 256, size=(2 * rows, 28, 28))
    for part, own in (("train", pixels[:rows]), ("t10k", pixels[rows:])):
        idx(root / name / "raw" / f"{part}-images-idx3-ubyte", own)
        idx(root / name / "raw" / f"{part}-labels-idx1-ubyte", np.arange(rows) % 10)
    return pixels


def picture(file: Path, width: int = 20, height: int = 24, seed: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size=(height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


NAMES = [f"Attribute_{k}" for k in range(40)]


def celeba(root: Path, rows: int = 12) -> list[str]:
    draw = np.random.default_rng(0)
    lines = [str(rows), " ".join(NAMES)]
    for k in range(rows):
        labels = draw.choice([-1, 1], size=40)
        lines.append(f"{k + 1:06d}.jpg  " + " ".join(f"{label:2d}" for label in labels))
        picture(root / "celeba" / "img_align_celeba" / f"{k + 1:06d}.jpg", 178, 218, seed=k)
    (root / "celeba" / "list_attr_celeba.txt").write_text("\n".join([*lines, ""]))
    parts = [0] * (rows - 4) + [1, 1, 2, 2]
    (root / "celeba" / "list_eval_partition.txt").write_text(
        "".join(f"{k + 1:06d}.jpg {part}\n" for k, part in enumerate(parts))
    )
    return lines


def office(root: Path, domains: tuple[str, ...], classes: int) -> None:
    for d, domain in enumerate(domains):
        for k in range(classes):
            for n in range(1 + d % 2):
                picture(root / domain / f"class_{k:02d}" / f"frame_{n}.jpg", 16 + d, 16, seed=k)


def test_a_set_of_torchvision(tmp_path: Path) -> None:
    pixels = mnist(tmp_path)
    data = mtl.dataset("torchvision/MNIST", root=tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [36, 4, 40]
    assert data.tasks[0].class_names[3] == "3 - three"
    assert data.test.targets["class"].tolist() == [k % 10 for k in range(40)]
    torch.testing.assert_close(data.train.inputs[:].mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    order = pixels[40:].reshape(40, -1).astype(float)
    found = data.test.inputs[:].flatten(1)
    assert np.corrcoef(order.ravel(), found.numpy().ravel())[0, 1] == pytest.approx(1)
    few = mtl.dataset("torchvision/MNIST", root=tmp_path, train=20, test=10, image_size=14)
    assert [len(s) for s in (few.train, few.validation, few.test)] == [18, 2, 10]
    assert few.train.inputs.shape[1:] == (1, 14, 14)


def test_sets_of_torchvision_with_a_validation_split_and_without_any(tmp_path: Path) -> None:
    for part, rows in (("train", 4), ("val", 2)):
        for wnid in ("n01440764", "n02102040"):
            for k in range(rows):
                picture(tmp_path / "imagenette2" / part / wnid / f"{k}.JPEG", 20 + k, 30)
    data = mtl.dataset("torchvision/Imagenette", root=tmp_path, image_size=16)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [7, 1, 4]
    for k in range(10):
        picture(tmp_path / "eurosat" / "2750" / ("Forest", "River")[k % 2] / f"{k}.jpg", 16, 16, seed=k)
    data = mtl.dataset("torchvision/EuroSAT", root=tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [6, 2, 2]
    assert data.tasks[0].class_names == ("Forest", "River")


def test_overlays_of_torchvisions_sets(tmp_path: Path) -> None:
    digits, garments = mnist(tmp_path), mnist(tmp_path, "FashionMNIST", seed=1)
    sizes = {"train": 30, "validation": 5, "test": 20}
    data = mtl.dataset("fashion_and_mnist", root=tmp_path, **sizes)
    assert [task.name for task in data.tasks] == ["garment", "digit"]
    assert data.tasks[0].class_names[0] == "t-shirt"
    for row in range(20):
        canvas = (data.test.inputs[row, 0] * 255).round().numpy()
        corner = (garments[40:, :8, :8] == canvas[:8, :8]).all(axis=(1, 2))
        other = (digits[40:, -8:, -8:] == canvas[-8:, -8:]).all(axis=(1, 2))
        assert corner.sum() == other.sum() == 1
        assert corner.argmax() % 10 == data.test.targets["garment"][row]
        assert other.argmax() % 10 == data.test.targets["digit"][row]
    assert [t.name for t in mtl.dataset("multifashion", root=tmp_path, **sizes).tasks] == ["left", "right"]
    whole = mtl.dataset("multimnist", root=tmp_path, **sizes)
    assert whole.fingerprint() == mtl.dataset("multimnist", root=tmp_path, **sizes).fingerprint()
    assert whole.train.inputs.shape == (30, 1, 36, 36)


def test_celeba_reads_torchvisions_layout(tmp_path: Path) -> None:
    lines = celeba(tmp_path)
    for root in (tmp_path, tmp_path / "celeba"):
        data = mtl.dataset("celeba", root=root, train=None, validation=2, test=None, image_size=8)
        assert [task.name for task in data.tasks] == NAMES
        assert [len(s) for s in (data.train, data.validation, data.test)] == [8, 2, 2]
        assert data.train.inputs.shape[1:] == (3, 8, 8)
        for k, name in enumerate(NAMES):
            expected = [int(line.split()[k + 1] == "1") for line in lines[2:10]]
            assert data.train.targets[name].tolist() == expected
    kept = mtl.dataset(
        "celeba", root=root, train=None, validation=2, test=None, image_size=8, cache=tmp_path / "cache"
    )
    assert kept.fingerprint() == data.fingerprint()
    few = mtl.dataset("celeba", root=root, train=3, validation=1, test=2, image_size=8)
    whole = {x.numpy().tobytes(): row for row, x in enumerate(data.train.inputs.stored)}
    for row, own in zip(few.train.inputs.rows, few.train.targets["Attribute_7"], strict=True):
        assert data.train.targets["Attribute_7"][whole[few.train.inputs.stored[row].numpy().tobytes()]] == own


@pytest.mark.parametrize(
    ("name", "domains", "classes"),
    [
        ("office31", ("amazon/images", "dslr/images", "webcam/images"), 31),
        ("office31", ("amazon", "dslr", "webcam"), 31),
        ("office_home", ("Art", "Clipart", "Product", "Real World"), 65),
    ],
)
def test_every_domain_of_office_is_a_task_with_its_own_pictures(
    tmp_path: Path, name: str, domains: tuple[str, ...], classes: int
) -> None:
    office(tmp_path, domains, classes)
    data = mtl.dataset(name, root=tmp_path, image_size=8)
    assert {task.output_size for task in data.tasks} == {classes}
    counts = torch.zeros(len(domains))
    for split in (data.train, data.validation, data.test):
        there = torch.stack([target >= 0 for target in split.targets.values()])
        assert torch.equal(there.sum(dim=0), torch.ones(len(split)))
        counts += there.sum(dim=1)
    assert counts.tolist() == [classes * (1 + d % 2) for d in range(len(domains))]
    mixed = mtl.mixture(data.train, sampling="equal")
    kept = mtl.dataset(name, root=tmp_path, image_size=8, cache=tmp_path / "cache")
    assert kept.fingerprint() == data.fingerprint()
    rows = mixed.order(torch.Generator().manual_seed(0))
    drawn = torch.stack([target[rows] >= 0 for target in mixed.targets.values()]).sum(dim=1)
    assert int(drawn.max() - drawn.min()) <= 1


def labels_file(root: Path, rows: list[str]) -> dict[str, object]:
    (root / "labels.csv").write_text("\n".join(["file,kind", *rows]))
    return {"folder": root, "labels": root / "labels.csv", "tasks": {"kind": "classification"}}


def test_a_folder_of_pictures_with_labels(tmp_path: Path) -> None:
    for k in range(10):
        picture(tmp_path / f"p{k}.png", 30 + k, 20, seed=k)
    own = labels_file(tmp_path, [f"p{k}.png,{'ab'[k % 2] if k else ''}" for k in range(10)])
    data = mtl.dataset("images", **own, image_size=16)
    assert data.train.inputs.shape == (5, 3, 16, 16)  # nine have a label
    mean = data.train.inputs[:].mean(dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-4, rtol=0)
    kept = mtl.dataset("images", **own, image_size=16, cache=tmp_path / "cache")
    assert kept.fingerprint() == data.fingerprint()
    with pytest.raises(
        ValueError, match=r"p\d\.png is .*labels\.csv, row \d+\), the first picture is .*image_size="
    ):
        mtl.dataset("images", **own, image_size=None)
    (tmp_path / "p3.png").write_bytes((tmp_path / "p3.png").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"p3\.png cannot be read as a picture \(.*labels\.csv, row 4\)"):
        mtl.dataset("images", **own)
    (tmp_path / "p3.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"p3\.png cannot be read as a picture \(.*row 4\)"):
        mtl.dataset("images", **own)
    (tmp_path / "p3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"p3\.png is not there \(.*labels\.csv, row 4\)"):
        mtl.dataset("images", **own)
    with pytest.raises(ValueError, match="row 2: column 'file' names no picture"):
        mtl.dataset("images", **labels_file(tmp_path, ["p0.png,a", ",b"]))


def test_what_is_not_there_is_one_line_that_says_where_to_get_it(tmp_path: Path) -> None:
    for name, message in (
        ("celeba", "holds no list_attr_celeba.txt; get it from the CelebA project page"),
        ("office31", "holds no folder amazon; get it from the project page of Office-31"),
        ("office_home", "holds no folder Art; get it"),
        ("multifashion", "'torchvision/FashionMNIST': its files are not in .*download=True"),
        ("torchvision/MNIST", "'torchvision/MNIST': its files are not in .*download=True"),
        ("torchvision/CIFAR10", "'torchvision/CIFAR10': its files are not in"),
        ("torchvision/EuroSAT", "'torchvision/EuroSAT': its files are not in"),
    ):
        with pytest.raises(FileNotFoundError, match=message) as error:
            mtl.dataset(name, root=tmp_path)
        assert "\n" not in str(error.value)


def test_files_that_are_not_as_published(tmp_path: Path) -> None:
    lines = celeba(tmp_path)
    file = tmp_path / "celeba" / "list_attr_celeba.txt"
    for wrong, message in (
        (
            [*lines[:4], lines[4].replace("1", "2", 3), *lines[5:]],
            r"list_attr_celeba\.txt, row 3: expected a picture",
        ),
        ([*lines[:4], lines[4][:40], *lines[5:]], "row 3: expected a picture and 40 labels"),
        (lines[:9], "is cut off: it announces 12 pictures and has 7"),
        (lines[:1], "expected a count, a line of attributes"),
    ):
        file.write_text("\n".join(wrong))
        with pytest.raises(ValueError, match=message):
            mtl.dataset("celeba", root=tmp_path, train=4, validation=1, test=1)
    file.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="train=20000, the files have 8"):
        mtl.dataset("celeba", root=tmp_path)
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("000001.jpg 3\n")
    with pytest.raises(
        ValueError, match=r"list_eval_partition\.txt, row 1: expected a picture and 0, 1 or 2"
    ):
        mtl.dataset("celeba", root=tmp_path)
    office(tmp_path, ("amazon", "dslr"), 31)
    office(tmp_path, ("webcam",), 30)
    with pytest.raises(
        ValueError, match=r"webcam has 30 folders of classes, expected 31.*different: class_30"
    ):
        mtl.dataset("office31", root=tmp_path)


def test_sets_of_torchvision_that_do_not_fit(tmp_path: Path) -> None:
    mnist(tmp_path)
    for name, options, message in (
        ("torchvision/MNISTT", {}, "no data set of torchvision 'MNISTT'; did you mean 'MNIST'"),
        ("torchvison/MNIST", {}, "no family of data sets 'torchvison'; did you mean 'torchvision'"),
        ("torchvision", {}, "which data set of torchvision"),
        ("torchvision/MNIST", {"size": 3}, "unexpected keyword argument 'size'"),
        ("torchvision/MNIST", {"train": 50}, "it has 40 pictures, 50 were asked for"),
    ):
        with pytest.raises(ValueError, match=message):
            mtl.dataset(name, **({"root": tmp_path} if "/" in name else {}), **options)
    raw = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    raw.write_bytes(raw.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"'torchvision/MNIST'.*"):
        mtl.dataset("torchvision/MNIST", root=tmp_path)


@pytest.mark.slow
def test_the_real_files_of_fashion_mnist(tmp_path: Path) -> None:
    """Debian's dataset-fashion-mnist, where it is installed."""
    packed = Path("/usr/share/datasets/fashion-mnist")
    files = sorted(packed.glob("**/*ubyte.gz"))
    if len(files) != 4:
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in files:
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    data = mtl.dataset("torchvision/FashionMNIST", root=tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [54_000, 6_000, 10_000]
    assert data.test.targets["class"].bincount().tolist() == [1000] * 10
    pairs = mtl.dataset("multifashion", root=tmp_path, train=100, validation=10, test=10)
    assert len(pairs.train) == 100
