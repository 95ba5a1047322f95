"""Looking at a script before it is run."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

from pilotage.errors import ConfigConflictError, ScriptError


def read_script(name: str) -> tuple[Path, ast.Module]:
    """Return the absolute path of a script and its syntax tree.

    Raises ScriptError where it is missing, a folder, unreadable, or does not parse.
    """
    path = Path(name)
    if path.is_dir():
        raise ScriptError("the script is a folder", where=name, hint="name the Python file in it")
    try:
        source = path.read_bytes()
    except FileNotFoundError as error:
        raise ScriptError("there is no such script", where=name, hint=_nearby(path)) from error
    except OSError as error:
        raise ScriptError(f"the script cannot be read: {error.strerror}", where=name) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come when the script is run
            tree = ast.parse(source, filename=name)
            compile(tree, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f"{name}:{error.lineno}" if error.lineno else name
        shown = f"\n    {error.text.strip()}" if error.text and error.text.strip() else ""
        raise ScriptError(f"the script does not parse: {error.msg}{shown}", where=place) from error
    except ValueError as error:  # a NUL byte
        raise ScriptError(f"the script does not parse: {error}", where=name) from error
    return path.absolute(), tree


def _nearby(path: Path) -> str | None:
    candidate = path.with_name(path.name + ".py")
    return f"did you mean {candidate}?" if candidate.is_file() else None


def refuse_own_config(path: Path, tree: ast.Module) -> None:
    """Raise ConfigConflictError where the script surely loads a Config of its own.

    Only statements that are reached whatever happens are judged (the module's level and the ``__main__`` guard);
    what stands under a condition is judged when it is run.
    """
    names = _load_names(tree)
    for node in _certain(tree.body):
        if isinstance(node, ast.Call) and _dotted(node.func) in names and _gives_config(node):
            raise own_config_error(f"{path}:{node.lineno}")


def own_config_error(where: str) -> ConfigConflictError:
    """Return the error for a script that loads its own Config although a site was asked for."""
    return ConfigConflictError(
        "the script loads a Config of its own here, and --site asks for another",
        where=where,
        hint="--override puts the site's config in its place; without --site the script runs as it is",
    )


def _load_names(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "parsl":
                    names.add(f"{alias.asname or 'parsl'}.load")
        elif isinstance(node, ast.ImportFrom) and node.module == "parsl" and not node.level:
            names.update(alias.asname or alias.name for alias in node.names if alias.name == "load")
    return names


def _certain(body: list[ast.stmt]) -> list[ast.expr]:
    found: list[ast.expr] = []
    for statement in body:
        if isinstance(statement, ast.If) and _is_main_guard(statement.test):
            found += _certain(statement.body)
        elif isinstance(statement, ast.With):
            found += [item.context_expr for item in statement.items]
            found += _certain(statement.body)
        elif isinstance(statement, (ast.Expr, ast.Assign, ast.AnnAssign)) and statement.value is not None:
            found.append(statement.value)
        elif isinstance(statement, (ast.If, ast.Try, ast.For, ast.While, ast.Match)):
            return found  # one of its branches may end the script before what follows
    return found


def _is_main_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _gives_config(call: ast.Call) -> bool:
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg in (None, "config"))]
    return any(not _is_none(value) and not _is_the_runs(value) for value in given)


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _is_the_runs(value: ast.expr) -> bool:
    # pilotage.config() without a site is the run's own.
    return isinstance(value, ast.Call) and _dotted(value.func).endswith("config") and not (value.args or value.keywords)
