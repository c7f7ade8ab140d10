"""import-linter on a copy of the code in which each script of the root is a package: it takes nothing else."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from importlinter import cli

with tempfile.TemporaryDirectory() as stage:
    for package in Path.cwd().glob("*/__init__.py"):
        shutil.copytree(package.parent, Path(stage, package.parent.name))
    for script in Path.cwd().glob("*.py"):
        Path(stage, script.stem).mkdir()
        shutil.copy(script, Path(stage, script.stem, "__init__.py"))
    shutil.copy("pyproject.toml", stage)
    os.chdir(stage)
    sys.path.insert(0, stage)
    sys.exit(cli.lint_imports(no_cache=True, no_logo=True))
