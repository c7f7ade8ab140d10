"""Results of runs that never were."""

from support import intervals

import results


def entry(epoch, accuracy):
    losses = {"train_loss": 0.6, "val_loss": 0.2, "test_loss": 0.02}
    return {
        "epoch": epoch,
        "lr": 0.1,
        **losses,
        "train_accuracy": 99.0,
        "val_accuracy": 98.0,
        "test_accuracy": accuracy,
        "seconds": 4.0,
    }


def run(accuracy, seed=0, **changes):
    return {
        "schema": results.SCHEMA,
        "finished": True,
        "recipe": {"name": "default"},
        "identity": {"layers": "Sequential()", "calls": "abc", "logits": [[0.0, 1.0]]},
        "classes": list("0123456789"),
        "seed": seed,
        "total_parameters": 19_000,
        "total_epochs": 15,
        "preparation_seconds": 0.0,
        "training_time": 60.0 + seed,
        "best_validation_accuracy": 98.0,
        "final_test_accuracy": accuracy,
        "final_test_accuracy_ci95": intervals.wilson_interval(accuracy, 10_000),
        "final_test_loss": 0.02,
        "per_class_accuracy": {"0": accuracy},
        "evaluated_images": 10_000,
        "misclassified": {str(index): "1" for index in range(round(100 * (100 - accuracy)))},
        "history": [entry(epoch, accuracy) for epoch in range(1, 16)],
        "environment": {
            "python": "3.11.7",
            "torch": "2.10",
            "numpy": "2.0",
            "platform": "Linux",
            "cpu": "a processor",
            "cores": 2,
            "device": "cpu",
            "threads": 2,
            "processes": 1,
            "precision": "float32",
            "commit": "unknown",
        },
        **changes,
    }


def record(mean=99.5, parameters=4999, seeds=range(10), dataset="mnist", seconds=60.0, commit=40 * "a", **changes):
    """A record of results/records, whose accuracies lie around their mean by 0.05."""
    runs = [
        {"seed": seed, "final_test_accuracy": mean + 0.05 * (-1) ** index, "training_time": seconds + index}
        for index, seed in enumerate(seeds)
    ]
    return {
        "recipe": {"dataset": dataset},
        "total_parameters": parameters,
        "total_epochs": 12,
        "runs": runs,
        "mean": mean,
        "mean_ci95": intervals.mean_interval([run["final_test_accuracy"] for run in runs]),
        "environment": {"cpu": "a processor", "device": "cpu", "torch": "2.14", "commit": commit},
        **changes,
    }


def held_out(accuracy, seed=0):
    result = {key: value for key, value in run(accuracy, seed).items() if not key.startswith("final")}
    figures = {"accuracy": accuracy, "accuracy_ci95": intervals.wilson_interval(accuracy, 10_000), "loss": 0.01}
    recipe = {"name": "default", "holdout": True, "validation_images": 10_000}
    return result | {"recipe": recipe} | {f"final_validation_{name}": value for name, value in figures.items()}


def put(folder, runs):
    for name, content in runs.items():
        results.save(folder / name, content)
