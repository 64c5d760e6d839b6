"""What kind of program a source file is: a module with an entry to call, or a script to run.

Decided before anything runs, because a program must not run twice. It is the entry contract of
RunAgents (`handler`, then `agent`, `chain`, `executor`, `graph`, `crew`, then `main`); a file that
can have none of these is a script. Where only running the file can tell, it counts as a module,
and `_runner` finishes it as a script if nothing to call turns up.

In-sandbox code: see `_channel`.
"""

import _ast
import sys

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OBJECTS = ("agent", "chain", "executor", "graph", "crew")

ONLY_AST = 0x400  # ast.PyCF_ONLY_AST

# What these modules provide is called by entries and is never one: `from argosy import agent`,
# `agent = runagents.Agent()`, `handler = logging.StreamHandler()`.
PROVIDERS = frozenset({"argosy", "logging", "runagents"})

_BLOCKS = (_ast.If, _ast.Try, _ast.TryStar, _ast.With, _ast.For, _ast.While, _ast.Match)
_VALUES = (
    _ast.Constant,
    _ast.JoinedStr,
    _ast.List,
    _ast.Tuple,
    _ast.Dict,
    _ast.Set,
    _ast.ListComp,
    _ast.DictComp,
    _ast.SetComp,
    _ast.Compare,
)


class Plan:
    """How to run a file.

    is_module: import it and call its entry; else run it as `__main__`.
    says_on_stdout: what it prints is its answer, else its log.
    """

    def __init__(self, *, is_module: bool, says_on_stdout: bool) -> None:
        self.is_module = is_module
        self.says_on_stdout = says_on_stdout


SCRIPT = Plan(is_module=False, says_on_stdout=True)
MODULE = Plan(is_module=True, says_on_stdout=False)
# `def main():` cannot be told what was asked but as a script can, so it answers as a script does.
PRINTING_MODULE = Plan(is_module=True, says_on_stdout=True)


def parse(source: bytes, path: str) -> _ast.Module:
    """Return the syntax tree. Raises SyntaxError, or ValueError for NUL bytes."""
    tree = compile(source, path, "exec", flags=ONLY_AST, dont_inherit=True)
    assert isinstance(tree, _ast.Module)
    return tree


def plan(tree: _ast.Module) -> Plan:
    """Return how to run a file, from the names that its top level binds."""
    names = _Names(tree.body)
    if "handler" in names.bound or not names.bound.isdisjoint(OBJECTS) or names.unknown:
        return MODULE
    if "main" not in names.bound:
        return SCRIPT
    takes_nothing = names.main is not None and not _takes_positional(names.main.args)
    return PRINTING_MODULE if takes_nothing else MODULE


def main_blocks(tree: _ast.Module) -> _ast.Module:
    """Return the `if __name__ == "__main__":` blocks alone, to be run after all the rest."""
    guarded = [statement for statement in tree.body if _is_main_guard(statement)]
    return _ast.Module(body=guarded, type_ignores=[])


class _Names:
    """The names a file binds that could be entries.

    main: the function `main`, where it is one of this file. unknown: a star import hides more.
    """

    def __init__(self, body: "Sequence[_ast.stmt]") -> None:
        self.bound: set[str] = set()
        self.main: _ast.FunctionDef | _ast.AsyncFunctionDef | None = None
        self.unknown = False
        self._provided: set[str] = set()
        for statement in _statements(body):
            self._read(statement)

    def _read(self, statement: _ast.stmt) -> None:
        if isinstance(statement, _ast.FunctionDef | _ast.AsyncFunctionDef):
            # A plain function named `agent` has nothing to invoke; a decorated one may.
            if statement.name in ("handler", "main") or statement.decorator_list:
                self.bound.add(statement.name)
            if statement.name == "main":
                self.main = statement
        elif isinstance(statement, _ast.Import | _ast.ImportFrom):
            self._read_import(statement)
        elif isinstance(statement, _ast.Assign | _ast.AnnAssign) and statement.value is not None:
            self._read_assignment(statement)

    def _read_import(self, statement: "_ast.Import | _ast.ImportFrom") -> None:
        for alias in statement.names:
            if isinstance(statement, _ast.ImportFrom):
                package = "" if statement.level else (statement.module or "").partition(".")[0]
            else:
                package = alias.name.partition(".")[0]
            name = alias.asname or alias.name.partition(".")[0]
            if package in PROVIDERS:
                self._provided.add(name)
            elif name == "*":
                self.unknown = self.unknown or package not in sys.stdlib_module_names
            elif isinstance(statement, _ast.ImportFrom) or alias.asname:
                self._bind(name)

    def _read_assignment(self, statement: "_ast.Assign | _ast.AnnAssign") -> None:
        value = statement.value
        if isinstance(value, _VALUES):
            return
        if isinstance(value, _ast.Call) and _root(value.func) in self._provided:
            return
        targets = statement.targets if isinstance(statement, _ast.Assign) else [statement.target]
        for target in targets:
            for each in target.elts if isinstance(target, _ast.Tuple | _ast.List) else [target]:
                if isinstance(each, _ast.Name):
                    self._bind(each.id)

    def _bind(self, name: str) -> None:
        self.bound.add(name)
        if name == "main":
            self.main = None


def _statements(body: "Sequence[_ast.stmt]") -> "Iterator[_ast.stmt]":
    """Yield the statements that run at import, those of nested blocks included."""
    for statement in body:
        if not isinstance(statement, _BLOCKS):
            yield statement
        elif not _is_main_guard(statement):
            for name in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, name, []))
            for name in ("handlers", "cases"):
                for each in getattr(statement, name, []):
                    yield from _statements(each.body)


def _is_main_guard(statement: _ast.stmt) -> bool:
    """Whether it is an `if` that compares `__name__` with `"__main__"`, alone or not."""
    if not isinstance(statement, _ast.If):
        return False
    test = statement.test
    return any(map(_compares_main, test.values if isinstance(test, _ast.BoolOp) else [test]))


def _compares_main(test: _ast.expr) -> bool:
    if not isinstance(test, _ast.Compare):
        return False
    sides = (test.left, *test.comparators)
    names = {side.id for side in sides if isinstance(side, _ast.Name)}
    values = {side.value for side in sides if isinstance(side, _ast.Constant)}
    return names == {"__name__"} and values == {"__main__"}


def _root(expression: _ast.expr) -> str:
    """Return the first name of `a.b.c`."""
    while isinstance(expression, _ast.Attribute):
        expression = expression.value
    return expression.id if isinstance(expression, _ast.Name) else ""


def _takes_positional(arguments: _ast.arguments) -> bool:
    return bool(arguments.posonlyargs or arguments.args or arguments.vararg)
