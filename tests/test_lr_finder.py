import contextlib
import itertools
import json
import math

import pytest
import torch

import lr_finder
import recipes
import results
import train
from reporting import find_lr
from selection import Selection
from trainer import Trainer

CPU = torch.device("cpu")
CURVATURE = 4.0


class Quadratic:
    """Gradient descent on CURVATURE / 2 * weight**2, which diverges from the learning rate 2 / CURVATURE on, as a
    trainer."""

    def __init__(self, start=1e-4, steps=200, noise=None):
        self.recipe = recipes.Recipe(finder_start_lr=start, finder_end_lr=10.0, finder_num_iter=steps)
        self.model = torch.nn.Linear(1, 1, bias=False)
        self.model.weight.data.fill_(1.0)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.123, momentum=0.0)
        self.seed, self.seen, self.noise = 0, [], noise
        self.selection = Selection(self.recipe, 1, CPU, lambda _: None)
        self.optimizer.register_step_pre_hook(lambda *_: self.seen.append(self.lr))

    @property
    def lr(self):
        return self.optimizer.param_groups[0]["lr"]

    autocast = staticmethod(contextlib.nullcontext)

    def criterion(self, logits, _):
        noise = (
            1 + torch.randn((), generator=self.noise) * 0.1 if self.noise else 0
        )  # and a loss that does not fall to 0
        return CURVATURE / 2 * logits.square() + noise

    def batches(self, _):
        yield torch.ones(1), None, torch.zeros(1, dtype=torch.long), 1


def start(images, **changes):
    return Trainer(recipes.get_recipe(changes.pop("name", "default"), **changes), 0, CPU, images[0])


def test_on_a_quadratic_the_suggestions_lie_below_the_rate_of_divergence_and_the_test_stops_there():
    run = Quadratic()
    found = lr_finder.range_test(run)
    divergence = 2 / CURVATURE
    assert found.lrs[0] == pytest.approx(1e-4)
    assert divergence < found.lrs[-1] < 10
    assert run.lr == 0.123
    for suggestion in found.suggestions.values():
        assert suggestion < divergence
    # The weight falls as exp(-CURVATURE * rate / growth), so its loss falls fastest at growth / 2 / CURVATURE.
    growth = math.log(10 / 1e-4) / 199
    assert found.lr / (growth / 2 / CURVATURE) == pytest.approx(1.5, rel=0.33)  # smoothing comes a little late
    assert found.lr == found.suggestions["steepest"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("steps", [100, 1000])
def test_noise_of_the_batches_does_not_hide_the_steepest_fall(steps, seed):
    found = lr_finder.range_test(Quadratic(1e-7, steps, torch.Generator().manual_seed(seed)))
    fastest = math.log(10 / 1e-7) / (steps - 1) / 2 / CURVATURE
    assert fastest / 2 < found.lr < 10 * fastest  # of eight decades; smoothing over a twentieth comes late by .4
    assert found.lr < 2 / CURVATURE


def test_the_momentum_is_that_of_the_peak_where_it_cycles(small_mnist, tmp_path):
    run = start(small_mnist, name="erav3", architecture="default", finder_num_iter=10)
    (group,), seen = run.optimizer.param_groups, []
    run.optimizer.register_step_post_hook(lambda *_: seen.append(group["momentum"]))
    before = group["momentum"]
    lr_finder.range_test(run)
    peak = start(small_mnist, name="erav3", architecture="default", epochs=1)
    cycle = []
    peak.optimizer.register_step_post_hook(lambda *_: cycle.append(peak.optimizer.param_groups[0]["momentum"]))
    train.train(peak, small_mnist[1], tmp_path, lambda: None)
    assert set(seen) == {0.85}
    assert min(cycle) == pytest.approx(0.85, abs=0.02)  # at its peak
    assert group["momentum"] == before == 0.95


def test_the_learning_rates_rise_exponentially_and_the_loss_is_the_one_before_each_update():
    run = Quadratic(steps=50)
    found = lr_finder.range_test(run)
    assert run.seen == found.lrs
    ratios = [later / earlier for earlier, later in itertools.pairwise(found.lrs)]
    assert ratios == pytest.approx([(10 / 1e-4) ** (1 / 49)] * len(ratios))
    weight = 1.0
    for rate, loss in zip(found.lrs, found.losses, strict=True):
        assert loss == pytest.approx(CURVATURE / 2 * weight**2, rel=1e-4)
        weight -= rate * CURVATURE * weight


def test_a_loss_that_never_falls_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="lower finder_start_lr"):
        lr_finder.range_test(Quadratic(start=1.0)).suggestions  # noqa: B018


def test_model_optimizer_and_trainer_are_left_as_they_were(small_mnist, tmp_path):
    run, untouched = (start(small_mnist, finder_num_iter=20, epochs=1, batch_size=100) for _ in range(2))
    found = lr_finder.range_test(run)
    assert len(found.lrs) == 20
    assert run.lr == untouched.lr
    for one, other in zip(run.model.state_dict().values(), untouched.model.state_dict().values(), strict=True):
        assert one.equal(other)
    for trainer in (run, untouched):
        train.train(trainer, small_mnist[1], tmp_path, lambda: None)
    for one, other in zip(run.model.state_dict().values(), untouched.model.state_dict().values(), strict=True):
        assert one.equal(other)


def test_more_steps_than_an_epoch_has_go_on_with_the_next(small_mnist):
    run = start(small_mnist, finder_num_iter=25, finder_end_lr=0.1)
    assert run.recipe.steps(len(run.train_images)) == (4, 4 * run.recipe.epochs)
    assert len(lr_finder.range_test(run).lrs) == 25


def test_training_at_the_suggestion_is_recorded_and_resumed(train_small, tmp_path):
    flags = ("--find-lr", "true", "--finder-num-iter", 40, "--epochs", 3)
    output = train_small(*flags)[1]
    found = results.read(tmp_path / "run")
    rate = found["lr_finder"]["lr"]
    assert f"range test: training at learning rate {rate:.4g}" in output
    assert set(found["lr_finder"]["suggestions"]) == {"steepest", "valley", "minimum_over_10"}
    assert found["preparation_seconds"] > found["lr_finder"]["seconds"]
    assert found["history"][-1]["lr"] == pytest.approx(rate / 10, rel=0.1)  # where one_cycle ends
    (tmp_path / "run" / "results.json").unlink()
    (tmp_path / "run" / "checkpoints" / "epoch_003.pt").unlink()
    output = train_small(*flags)[1]
    assert "resuming after epoch 2" in output
    assert "range test" not in output
    again = results.read(tmp_path / "run")
    assert again["lr_finder"] == found["lr_finder"]
    assert again["final_test_loss"] == found["final_test_loss"]


def test_mnist_ops_searches_its_learning_rate_unless_one_is_given():
    assert recipes.get_recipe("mnist-ops").find_lr
    assert not recipes.get_recipe("mnist-ops", learning_rate=0.1).find_lr


def test_the_script_writes_all_values_and_a_plot(small_mnist, mnist_folder, tmp_path, capsys):
    flags = ["--recipe", "fast", "--batch-size", "100", "--finder-num-iter", "60", "--device", "cpu"]
    assert find_lr.main([*flags, "--data", str(mnist_folder), "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "lr_finder.json").read_bytes())
    curve = record["curve"]
    assert len(curve["lrs"]) == len(curve["losses"]) == len(curve["smoothed"]) == record["summary"]["steps"]
    assert all(map(math.isfinite, curve["losses"]))
    assert record["recipe"]["batch_size"] == 100
    output = capsys.readouterr().out
    assert (tmp_path / "lr_finder.png").read_bytes().startswith(b"\x89PNG")
    assert f"make train RECIPE=fast LR={record['summary']['lr']:.4g}  (as LR=auto does)" in output
