import itertools
import json
import math

import pytest
import torch

import lr_finder
import recipes
import results
import run as runs

CURVATURE = 4.0


class Quadratic:
    """Gradient descent on CURVATURE / 2 * weight**2, which diverges from the rate 2 / CURVATURE on, as a run."""

    def __init__(self, start=1e-4, steps=200, noise=None):
        self.recipe = recipes.Recipe(finder_start=start, finder_end=10.0, finder_steps=steps)
        self.model = torch.nn.Linear(1, 1, bias=False)
        self.model.weight.data.fill_(1.0)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.123, momentum=0.0)
        self.seed, self.rate, self.seen, self.noise = 0, 0.123, [], noise
        Step = type("Step", (), {"start_epoch": lambda _: None, "__call__": self.update})
        self.step = Step()

    def update(self, images, labels, count):
        loss = CURVATURE / 2 * self.model.weight.square().sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.seen.append(self.optimizer.param_groups[0]["lr"])
        self.optimizer.step()
        self.step.total_loss = loss.detach() * count
        if self.noise:  # and a loss that does not fall to 0
            self.step.total_loss += 1 + torch.randn((), generator=self.noise) * 0.1

    def batches(self, _):
        yield None, None, 1


def test_on_a_quadratic_the_suggestions_lie_below_the_rate_of_divergence_and_the_test_stops_there():
    run = Quadratic()
    found = lr_finder.range_test(run)
    divergence = 2 / CURVATURE
    assert found.rates[0] == pytest.approx(1e-4)
    assert divergence < found.rates[-1] < 10
    assert run.rate == 0.123
    for suggestion in found.suggestions.values():
        assert suggestion < divergence
    # The weight falls as exp(-CURVATURE * rate / growth), so its loss falls fastest at growth / 2 / CURVATURE.
    growth = math.log(10 / 1e-4) / 199
    assert found.rate / (growth / 2 / CURVATURE) == pytest.approx(1.5, rel=0.33)  # smoothing comes a little late
    assert found.rate == found.suggestions["steepest"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("steps", [100, 1000])
def test_noise_of_the_batches_does_not_hide_the_steepest_fall(steps, seed):
    found = lr_finder.range_test(Quadratic(1e-7, steps, torch.Generator().manual_seed(seed)))
    fastest = math.log(10 / 1e-7) / (steps - 1) / 2 / CURVATURE
    assert fastest / 2 < found.rate < 10 * fastest  # of eight decades; smoothing over a twentieth comes late by .4
    assert found.rate < 2 / CURVATURE


def test_the_momentum_is_that_of_the_peak_where_it_cycles(small_mnist):
    run = runs.Run(recipes.recipe("erav3", finder_steps=10), 0, torch.device("cpu"), *small_mnist)
    (group,), seen = run.optimizer.param_groups, []
    run.optimizer.register_step_post_hook(lambda *_: seen.append(group["momentum"]))
    before = group["momentum"]
    lr_finder.range_test(run)
    peak = runs.Run(recipes.recipe("erav3", epochs=1), 0, torch.device("cpu"), *small_mnist)
    cycle = []
    peak.optimizer.register_step_post_hook(lambda *_: cycle.append(peak.optimizer.param_groups[0]["momentum"]))
    peak.advance()
    assert set(seen) == {0.85}
    assert min(cycle) == pytest.approx(0.85, abs=0.02)  # at its peak
    assert group["momentum"] == before == 0.95


def test_the_rates_rise_exponentially_and_the_loss_is_the_one_before_each_update():
    run = Quadratic(steps=50)
    found = lr_finder.range_test(run)
    assert run.seen == found.rates
    ratios = [later / earlier for earlier, later in itertools.pairwise(found.rates)]
    assert ratios == pytest.approx([(10 / 1e-4) ** (1 / 49)] * len(ratios))
    weight = 1.0
    for rate, loss in zip(found.rates, found.losses, strict=True):
        assert loss == pytest.approx(CURVATURE / 2 * weight**2, rel=1e-4)
        weight -= rate * CURVATURE * weight


def test_a_loss_that_never_falls_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="lower finder_start"):
        lr_finder.range_test(Quadratic(start=1.0)).suggestions  # noqa: B018


def test_network_optimizer_and_run_are_left_as_they_were(small_mnist):
    run = runs.Run(recipes.recipe("default", finder_steps=20), 0, torch.device("cpu"), *small_mnist)
    untouched = runs.Run(recipes.recipe("default", finder_steps=20), 0, torch.device("cpu"), *small_mnist)
    found = lr_finder.range_test(run)
    assert len(found.rates) == 20
    assert run.rate == untouched.rate
    for one, other in zip(run.model.state_dict().values(), untouched.model.state_dict().values(), strict=True):
        assert one.equal(other)
    run.advance()
    untouched.advance()
    for one, other in zip(run.model.state_dict().values(), untouched.model.state_dict().values(), strict=True):
        assert one.equal(other)


def test_more_steps_than_an_epoch_has_go_on_with_the_next(small_mnist):
    run = runs.Run(recipes.recipe("default", finder_steps=25, finder_end=0.1), 0, torch.device("cpu"), *small_mnist)
    assert run.epoch_steps == 4
    assert len(lr_finder.range_test(run).rates) == 25


def test_training_at_the_suggestion_is_recorded_and_resumed(train_small, tmp_path):
    flags = ("--find-rate", "true", "--finder-steps", 40, "--epochs", 3)
    output = train_small(*flags)[1]
    found = results.read(tmp_path / "run")
    rate = found["lr_finder"]["rate"]
    assert f"range test: trains at {rate:.4g}" in output
    assert set(found["lr_finder"]["suggestions"]) == {"steepest", "valley", "minimum_over_10"}
    assert found["preparation_seconds"] > found["lr_finder"]["seconds"]
    assert found["history"][0]["lr"] == pytest.approx(rate / 10)  # the first of one_cycle
    (tmp_path / "run" / "results.json").unlink()
    (tmp_path / "run" / "checkpoints" / "epoch_003.pt").unlink()
    output = train_small(*flags)[1]
    assert "going on after epoch 2" in output
    assert "range test" not in output
    again = results.read(tmp_path / "run")
    assert again["lr_finder"] == found["lr_finder"]
    assert again["final_test_loss"] == found["final_test_loss"]


def test_mnist_ops_looks_for_its_rate_unless_one_is_given():
    assert recipes.recipe("mnist-ops").find_rate
    assert not recipes.recipe("mnist-ops", learning_rate=0.1).find_rate


def test_the_script_writes_all_values_and_a_plot(small_mnist, mnist_folder, tmp_path, capsys):
    flags = ["--recipe", "fast", "--batch-size", "100", "--finder-steps", "60", "--device", "cpu"]
    assert lr_finder.main([*flags, "--data", str(mnist_folder), "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "lr_finder.json").read_bytes())
    curve = record["curve"]
    assert len(curve["rates"]) == len(curve["losses"]) == len(curve["smoothed"]) == record["found"]["steps"]
    assert all(map(math.isfinite, curve["losses"]))
    assert record["recipe"]["batch_size"] == 100
    assert (tmp_path / "lr_finder.png").read_bytes().startswith(b"\x89PNG")
    assert f"{record['found']['rate']:.4g}   make train LR=auto" in capsys.readouterr().out
