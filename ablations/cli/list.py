"""`ablations list`: experiments, recipes and bodies."""

from dataclasses import asdict

from ablations.cli.display import add_row, make_table, print_json, print_table
from ablations.cli.options import AsJson, ConfigPath, load_config


def list_experiments(as_json: AsJson = False, config: ConfigPath = None) -> None:
    """List experiments, recipes and bodies."""
    found = load_config(config)
    if as_json:
        print_json(
            {
                "experiments": {n: e.model_dump(mode="json") for n, e in found.experiments.items()},
                "recipes": {n: r.model_dump(mode="json") for n, r in found.recipes.items()},
                "bodies": {n: asdict(b) for n, b in found.bodies.items()},
            }
        )
        return
    table = make_table("experiment", "variants", "question")
    for name, experiment in found.experiments.items():
        add_row(table, name, str(len(experiment.expansion.variants)), experiment.question)
    print_table(table)
    table = make_table("recipe", "dataset", "body", "epochs", "seeds")
    for name, recipe in found.recipes.items():
        seeds = ", ".join(map(str, recipe.looks or recipe.seeds))
        seeds = f"looks at {seeds} seeds" if recipe.looks else seeds
        add_row(table, name, recipe.dataset, recipe.body, str(recipe.epochs), seeds)
    print_table(table)
    table = make_table("body", "input", "shape", "divisor")
    for name, body in found.bodies.items():
        add_row(table, name, f"{body.input_size}x{body.input_size}", str(body), str(body.divisor))
    print_table(table)
