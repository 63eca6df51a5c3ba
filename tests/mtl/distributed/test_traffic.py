"""What several processes send each other, and models that are sharded over them."""

import pytest

from tests.mtl.distributed.processes import together
from tests.mtl.distributed.sharded import BY_LOSSES, sent, sharded
from tests.mtl.distributed.test_equal import difference


@pytest.mark.parametrize("world", [2, 3])
def test_a_step_sends_less_than_an_all_reduce_of_all_gradients(world: int) -> None:
    for bytes_of in together(sent, world, 6):
        assert bytes_of["rows"] <= 0.6 * bytes_of["plain"]
        assert bytes_of["gramian"] < bytes_of["rows"]  # seven examples are fewer than a layer's columns
        assert bytes_of["column-wise"] <= 0.6 * bytes_of["plain"]
        assert bytes_of["losses"] <= 1.01 * bytes_of["one"]
        assert bytes_of["features"] <= 1.01 * bytes_of["one"]
        assert bytes_of["plain"] <= bytes_of["whole"] <= 1.1 * bytes_of["plain"]  # with the direction


def test_five_tasks_send_six_tenths_of_the_trunk() -> None:
    for bytes_of in together(sent, 2, 5):
        assert bytes_of["rows"] <= 0.601 * bytes_of["plain"]


def test_sharded_models_train_by_methods_on_losses_and_others_say_no() -> None:
    for found in together(sharded, 2):
        for method in BY_LOSSES:
            pieces, whole = found["weights"][method]
            assert difference(pieces, [whole, whole]) < 1e-5, method
        assert set(found["refused"]) == {"upgrad", "graddrop", "equal"}
        for method, words in found["refused"].items():
            assert words.startswith(f"{method} balances gradients, and the model is sharded")
