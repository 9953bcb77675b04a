"""The step that a prox stands for: what builds up, how each rule measures it."""

import pytest
import torch

from trainer.objectives.prox_step import STEP_RULES, ProxStep

MOMENTS = [torch.tensor([[1.0, 9.0], [1.0, 9.0]]), torch.tensor([[4.0, 4.0], [4.0, 4.0]])]
"""Two models; columns are rows of GrOWL: rms 1 and 3 in the first, 2 and 2 in the second."""


def test_a_layers_rms_is_its_models_own() -> None:
    step, scale = STEP_RULES["layer_rms"](torch.tensor([2.0, 2.0]), MOMENTS)
    assert step.tolist() == pytest.approx([2 / 5**0.5, 1.0])
    assert scale is None


def test_the_root_rule_lies_half_way_between_one_scale_and_each_rows_own() -> None:
    step, scale = STEP_RULES["row_rms"](torch.tensor([2.0, 2.0]), MOMENTS)
    assert scale is not None
    assert step.tolist() == pytest.approx([2 / 5**0.5, 1.0])
    assert scale.tolist() == [pytest.approx([1 / 5**0.5, 3 / 5**0.5]), pytest.approx([1.0, 1.0])]
    root_step, root = STEP_RULES["row_rms_root"](torch.tensor([2.0, 2.0]), MOMENTS)
    assert root is not None
    assert torch.equal(root_step, step)
    torch.testing.assert_close(root.square(), scale)


@pytest.mark.parametrize("rule", ["layer_rms", "row_rms", "row_rms_root"])
def test_a_layer_whose_gradients_are_all_zero_is_measured_without_dividing_by_zero(rule: str) -> None:
    step, scale = STEP_RULES[rule](torch.tensor([2.0]), [torch.zeros(2, 3)])
    assert step.isfinite().all()
    assert step > 1e6
    assert scale is None or bool(((scale > 0) & (scale < 1)).all())


def test_only_the_plain_rule_needs_no_moments() -> None:
    needs = {rule: ProxStep(rule, 1, torch.device("cpu"), torch.float32).needs_moments for rule in STEP_RULES}
    assert needs == {"layer_rms": True, "row_rms": True, "row_rms_root": True, "plain": False}


def test_the_step_builds_up_for_each_model_until_a_prox() -> None:
    prox_step = ProxStep("plain", 2, torch.device("cpu"), torch.float64)
    assert prox_step.length.tolist() == [0, 0]
    assert prox_step.length.dtype == torch.float64
    prox_step.add(0.5, torch.tensor([1.0, 2.0], dtype=torch.float64))
    prox_step.add(0.25, torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert prox_step.length.tolist() == [0.75, 1.5]
    step, scale = prox_step.of_layer([], correction=0.25)
    assert step.tolist() == [0.75, 1.5], "without moments there is no bias to correct"
    assert scale is None
    assert prox_step.of_layer(MOMENTS, correction=0.25)[0].tolist() == [0.375, 0.75]
    prox_step.reset()
    assert prox_step.length.tolist() == [0, 0]


@pytest.mark.parametrize("rule", ["layer_rms", "row_rms", "row_rms_root"])
def test_a_layers_step_is_its_rules_with_corrected_moments(rule: str) -> None:
    """The root of moments that are a quarter of their size makes the step twice as long, and half the length makes up for it."""
    prox_step = ProxStep(rule, 2, torch.device("cpu"), torch.float32)
    prox_step.add(0.5, torch.tensor([4.0, 8.0]))
    step, scale = prox_step.of_layer([moment / 4 for moment in MOMENTS], correction=0.25)
    expected_step, expected_scale = STEP_RULES[rule](torch.tensor([2.0, 4.0]), MOMENTS)
    torch.testing.assert_close(step, expected_step)
    assert (scale is None) is (expected_scale is None)
    if scale is not None and expected_scale is not None:
        torch.testing.assert_close(scale, expected_scale)
