"""Δm of published tables, recomputed from their rows: it agrees to the rounding of the printed numbers."""

import pytest

from reports import delta_m

# NYUv2: mIoU, pixel accuracy, absolute and relative depth error, mean and median angle, within 11.25, 22.5, 30 degrees
HIGHER = [True, True, False, False, False, False, True, True, True]
TASKS = ["segmentation"] * 2 + ["depth"] * 2 + ["normals"] * 5

# Navon et al. 2022 (Nash-MTL), Liu et al. 2023 (FAMO), MTAN's network: Δm over all metrics, percent, lower is better
OVER_METRICS_BASE = [38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15]
OVER_METRICS = {
    "LS": ([39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08], 5.59),
    "SI": ([38.45, 64.27, 0.5354, 0.2201, 27.60, 23.37, 22.53, 48.57, 62.32], 4.39),
    "RLW": ([37.17, 63.77, 0.5759, 0.2410, 28.27, 24.18, 22.26, 47.05, 60.62], 7.78),
    "DWA": ([39.11, 65.31, 0.5510, 0.2285, 27.61, 23.18, 24.17, 50.18, 62.39], 3.57),
    "UW": ([36.87, 63.17, 0.5446, 0.2260, 27.04, 22.61, 23.54, 49.05, 63.65], 4.05),
    "MGDA": ([30.47, 59.90, 0.6070, 0.2555, 24.88, 19.45, 29.18, 56.88, 69.36], 1.38),
    "PCGrad": ([38.06, 64.64, 0.5550, 0.2325, 27.41, 22.80, 23.86, 49.83, 63.14], 3.97),
    "GradDrop": ([39.39, 65.12, 0.5455, 0.2279, 27.48, 22.96, 23.38, 49.44, 62.87], 3.58),
    "CAGrad": ([39.79, 65.49, 0.5486, 0.2250, 26.31, 21.58, 25.61, 52.36, 65.58], 0.20),
    "Nash-MTL": ([40.13, 65.93, 0.5261, 0.2171, 25.26, 20.08, 28.40, 55.47, 68.15], -4.04),
    "FAMO": ([38.88, 64.90, 0.5474, 0.2194, 25.06, 19.57, 29.21, 56.61, 68.98], -4.10),
}

# Lin et al. 2023 (DB-MTL), LibMTL's DeepLabV3+: Δp over tasks, in percent, higher is better
OVER_TASKS_BASE = [53.50, 75.39, 0.3926, 0.1605, 21.99, 15.16, 39.04, 65.00, 75.16]
OVER_TASKS = {
    "EW": ([53.93, 75.53, 0.3825, 0.1577, 23.57, 17.01, 35.04, 60.99, 72.05], -1.78),
    "GLS": ([54.59, 76.06, 0.3785, 0.1555, 22.71, 16.07, 36.89, 63.11, 73.81], 0.30),
    "RLW": ([54.04, 75.58, 0.3827, 0.1588, 23.07, 16.49, 36.12, 62.08, 72.94], -1.10),
    "UW": ([54.29, 75.64, 0.3815, 0.1583, 23.48, 16.92, 35.26, 61.17, 72.21], -1.52),
    "MGDA": ([53.52, 74.76, 0.3852, 0.1566, 22.74, 16.00, 37.12, 63.22, 73.84], -0.64),
    "CAGrad": ([53.97, 75.54, 0.3885, 0.1588, 22.47, 15.71, 37.77, 63.82, 74.30], -0.27),
    "Nash-MTL": ([53.41, 74.95, 0.3867, 0.1612, 22.57, 15.94, 37.30, 63.40, 74.09], -1.01),
    "DB-MTL": ([53.92, 75.60, 0.3768, 0.1557, 21.97, 15.37, 38.43, 64.81, 75.24], 1.15),
}
ROUNDING = 0.015  # half a digit of the printed Δm, and as much from the printed metrics


@pytest.mark.parametrize("method", OVER_METRICS)
def test_delta_m_over_metrics(method: str) -> None:
    values, printed = OVER_METRICS[method]
    found = delta_m(values, OVER_METRICS_BASE, HIGHER, TASKS)
    assert -100 * found.over_metrics == pytest.approx(printed, abs=ROUNDING)
    assert -100 * found.over_tasks != pytest.approx(
        printed, abs=ROUNDING
    )  # the other convention is told apart


@pytest.mark.parametrize("method", OVER_TASKS)
def test_delta_m_over_tasks(method: str) -> None:
    values, printed = OVER_TASKS[method]
    found = delta_m(values, OVER_TASKS_BASE, HIGHER, TASKS)
    assert 100 * found.over_tasks == pytest.approx(printed, abs=ROUNDING)
    assert 100 * found.over_metrics != pytest.approx(printed, abs=ROUNDING)


def test_metrics_without_tasks_are_tasks_of_their_own() -> None:
    found = delta_m([0.44, 0.16], [0.4, 0.2], [True, False])
    assert found.over_tasks == found.over_metrics == pytest.approx(0.15)


@pytest.mark.parametrize(("values", "base", "higher", "tasks", "told"), [
    ([1.0, 2.0], [1.0], [True, True], None, "2 as in values: base has 1"),
    ([1.0], [1.0], [True, False], ["a", "b"], "1 as in values: higher_is_better has 2, tasks has 2"),
    ([], [], [], None, "one entry a metric, 0"),
    ([1.0, 2.0], [1.0, 0.0], [True, True], ["a", "b"], r"metric 1 \(of task b\) has no relative gain: value 2.0, b"),
    ([float("nan")], [1.0], [True], None, "metric 0"),
])  # fmt: skip
def test_a_table_that_cannot_be_compared_is_refused(
    values: list[float], base: list[float], higher: list[bool], tasks: list[str] | None, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        delta_m(values, base, higher, tasks)
