"""Recipes: TOML files of `train`'s flags, ours by name and the user's by path."""

from pathlib import Path

from deepchest_cli.errors import unknown_name

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = ("default", "paper")


def find_recipe(name: str) -> Path:
    """Return the file of a recipe: one of ours, or a path that ends in .toml.

    Raises `UsageError` for a name that is neither.
    """
    if name in RECIPES:
        return FOLDER / f"{name}.toml"
    if name.endswith(".toml"):
        return Path(name)
    raise unknown_name("recipe", name, [*RECIPES, "PATH.toml"])
