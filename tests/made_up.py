"""Results of runs that never were."""

import results
from support import intervals


def run(accuracy, seed=0, **changes):
    return {
        "schema": results.SCHEMA,
        "finished": True,
        "recipe": {"name": "default"},
        "model_repr": "Sequential()",
        "classes": list("0123456789"),
        "seed": seed,
        "total_parameters": 19_000,
        "total_epochs": 15,
        "training_time": 60.0 + seed,
        "final_test_accuracy": accuracy,
        "final_test_accuracy_ci95": intervals.wilson_interval(accuracy, 10_000),
        "final_test_loss": 0.02,
        "per_class_accuracy": {"0": accuracy},
        "history": [{}] * 15,
        "environment": {
            "cpu": "a processor",
            "device": "cpu",
            "threads": 2,
            "processes": 1,
            "precision": "float32",
            "torch": "2.10",
        },
        **changes,
    }


def put(folder, runs):
    for name, content in runs.items():
        results.write(folder / name, content)
