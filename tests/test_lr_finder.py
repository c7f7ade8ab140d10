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
        self.recipe = recipes.Recipe(finder_start_lr=start, finder_num_iter=steps)
        self.model = torch.nn.Linear(1, 1, bias=False)
        self.model.weight.data.fill_(1.0)
        self.use_lr(0.123)
        self.seed, self.seen, self.noise = 0, [], noise
        self.selection = Selection(self.recipe, 1, CPU, lambda _: None)

    def use_lr(self, lr):
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr, momentum=0.0)

    @property
    def lr(self):
        return self.optimizer.param_groups[0]["lr"]

    def batches(self, _):
        yield torch.ones(1)

    def step(self, batch):
        self.seen.append(self.lr)
        loss = CURVATURE / 2 * self.model(batch).square()
        if self.noise:  # and a loss that does not fall to 0
            loss = loss + 1 + 0.1 * torch.randn((), generator=self.noise)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach(), None


def start(images, **changes):
    return Trainer(recipes.get_recipe(changes.pop("name", "default"), **changes), 0, CPU, images[0])


def test_on_a_quadratic_the_suggestions_lie_below_the_rate_of_divergence_and_the_test_stops_there():
    run = Quadratic()
    found = lr_finder.range_test(run)
    divergence = 2 / CURVATURE
    assert divergence < found.lrs[-1] < 10
    assert run.lr == 0.123
    for suggestion in found.suggestions.values():
        assert suggestion < divergence
    # The weight falls as exp(-CURVATURE * rate / growth), so its loss falls fastest at growth / 2 / CURVATURE.
    growth = math.log(10 / 1e-4) / 199
    assert found.lr / (growth / 2 / CURVATURE) == pytest.approx(1.5, rel=0.33)  # smoothing comes a little late
    assert found.lr == found.suggestions["steepest"]
    # The learning rates rise exponentially, and a loss is the one before the update.
    assert found.lrs == pytest.approx([1e-4 * math.exp(growth * step) for step in range(len(found.lrs))])
    weights = itertools.accumulate(found.lrs, lambda weight, lr: weight - lr * CURVATURE * weight, initial=1.0)
    assert found.losses == pytest.approx([CURVATURE / 2 * weight**2 for weight in weights][:-1], rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("steps", [100, 1000])
def test_noise_of_the_batches_does_not_hide_the_steepest_fall(steps, seed):
    found = lr_finder.range_test(Quadratic(1e-7, steps, torch.Generator().manual_seed(seed)))
    fastest = math.log(10 / 1e-7) / (steps - 1) / 2 / CURVATURE
    assert fastest / 2 < found.lr < 10 * fastest  # of eight decades; smoothing over a twentieth comes late by .4
    assert found.lr < 2 / CURVATURE


def test_the_momentum_is_that_of_the_peak_where_it_cycles(small_mnist, monkeypatch):
    seen, step = [], Trainer.step

    def noting(trainer, batch):
        seen.append(trainer.optimizer.param_groups[0]["momentum"])
        return step(trainer, batch)

    monkeypatch.setattr(Trainer, "step", noting)
    run = start(small_mnist, name="erav3", architecture="default", epochs=1, finder_num_iter=10)
    lr_finder.range_test(run)
    assert seen == [0.85] * 10
    seen.clear()
    train.train(run, small_mnist[1], lambda evaluation: None)
    assert seen[0] == 0.95
    assert min(seen) == pytest.approx(0.85, abs=0.02)  # at its peak


def test_a_loss_that_never_falls_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="lower finder_start_lr"):
        lr_finder.range_test(Quadratic(start=1.0)).suggestions  # noqa: B018


def test_model_optimizer_and_trainer_are_left_as_they_were_though_it_takes_more_steps_than_an_epoch(small_mnist):
    run, untouched = (start(small_mnist, finder_num_iter=20, epochs=1, batch_size=100) for _ in range(2))
    assert len(lr_finder.range_test(run).lrs) == 20
    assert run.lr == untouched.lr
    for _ in range(2):
        for one, other in zip(run.model.state_dict().values(), untouched.model.state_dict().values(), strict=True):
            assert one.equal(other)
        for trainer in (run, untouched):
            train.train(trainer, small_mnist[1], lambda evaluation: None)


def test_training_at_the_suggestion_is_recorded_and_resumed(train_small, tmp_path):
    flags = ("--find-lr", "true", "--finder-num-iter", 40, "--epochs", 3)
    output = train_small(*flags)[1]
    found = results.load(tmp_path / "run")
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
    again = results.load(tmp_path / "run")
    assert again["lr_finder"] == found["lr_finder"]
    assert again["final_test_loss"] == found["final_test_loss"]


def test_the_script_writes_all_values_and_a_plot(small_mnist, mnist_folder, tmp_path, capsys):
    flags = ["--recipe", "mnist-7824", "--batch-size", "100", "--finder-num-iter", "60", "--device", "cpu"]
    flags += ["--schedule", "one_cycle"]
    find_lr.main([*flags, "--data", str(mnist_folder), "--out", str(tmp_path)])
    record = json.loads((tmp_path / "lr_finder.json").read_bytes())
    curve = record["curve"]
    assert len(curve["lrs"]) == len(curve["losses"]) == len(curve["smoothed"]) == record["summary"]["steps"]
    assert all(map(math.isfinite, curve["losses"]))
    assert record["recipe"]["batch_size"] == 100
    output = capsys.readouterr().out
    assert (tmp_path / "lr_finder.png").read_bytes().startswith(b"\x89PNG")
    own = "recipe's own      make train RECIPE=mnist-7824 LR=0.017\na one-cycle peak is held for few steps"
    assert own in output
    assert f"make train RECIPE=mnist-7824 LR={record['summary']['lr']:.4g}  (as LR=auto does)" in output
