"""The rules of the house that a machine can check, each shown to fail on made-up source."""

import ast
import re
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
PACKAGE, TESTS, EXPERIMENTS = HOME / "jattn", HOME / "tests", HOME / "experiments"

# floor by the first folder or file below the package; what is not named here may see anything and is seen by none
FLOORS = {
    "part": 0, "numerics": 0, "closures": 0, "extras": 0, "parts": 1, "engines": 2, "mechanisms": 3, "layers": 4,
    "models": 5, "training": 6,
}  # fmt: skip
CORE_LIBRARIES = {"jax", "numpy", "jaxtyping"}
# what a call may name: imported by one file, when it does
OPTIONAL = {"jattn.mechanisms.tokamax": {"tokamax", "absl"}}
FLAX_FLOOR, TRAINING_FLOOR = 4, 6
TRAINING_LIBRARIES = {"optax", "orbax", "grain"}
DEPRECATED = re.compile(r"jax\._src|jax\.(tree_map|tree_leaves|linear_util|core\.Tracer|experimental\.maps)\b|jax\.xla")
LONGEST, LONGEST_PART = 400, 150
MOST_ARGUMENTS = 8
# signatures copied from other libraries; `explain` takes what it explains
COPIED = {"dot_product_attention", "explain", "attention_fn"}

# tests of the repository, not of a file in the package
WHOLE = {
    "test_attention_gym.py", "test_drawn.py", "test_house.py", "test_readme.py", "tpu_scripts/test_scripts.py",
}  # fmt: skip

FILES = sorted(PACKAGE.rglob("*.py"))
EXPERIMENT_FILES = sorted(EXPERIMENTS.rglob("*.py"))
NOTEBOOKS = sorted(EXPERIMENTS.rglob("*.ipynb"))
TEST_FILES = sorted(TESTS.rglob("test_*.py"))


def floor(module: str) -> int | None:
    """The floor of a dotted name in the package, None where it stands beside."""
    steps = module.split(".")
    return FLOORS.get(steps[1]) if len(steps) > 1 else None


def module(path: Path) -> str:
    return ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.Module) -> set[str]:
    """Every dotted name imported anywhere in a file, `from a import b` as a.b too; a relative one begins with a dot."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = "." * node.level + (node.module or "")
            found |= {home} | {f"{home}.{alias.name}" for alias in node.names}
    return found


def import_faults(name: str, source: str) -> list[str]:
    """Imports that go up, to a library above its floor, to JAX's insides, or by a relative path."""
    here, tree, faults = floor(name), ast.parse(source), []
    for other in imported(tree):
        library = other.partition(".")[0]
        if other.startswith("."):
            faults.append(f"{other} is relative")
        if here is None:
            continue
        if library == "jattn" and other != "jattn" and (floor(other) is None or floor(other) > here):
            faults.append(f"{other} lies above")
        if library == "flax" and here < FLAX_FLOOR or library in TRAINING_LIBRARIES and here < TRAINING_FLOOR:
            faults.append(f"{library} below its floor")
        allowed = CORE_LIBRARIES | {"jattn"} | sys.stdlib_module_names | OPTIONAL.get(name, set())
        if here < FLAX_FLOOR and library not in allowed:
            faults.append(f"{library} in the core")
    # the text as well: `jax._src.x` may be read off an imported jax
    faults += [f"{found[0]} is private or deprecated" for found in DEPRECATED.finditer(_code(tree))]
    return faults


def _code(tree: ast.Module) -> str:
    dotted = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return "\n".join([*dotted, *imported(tree)])


def unsourced(source: str) -> list[str]:
    """Parts that have a `Source:` line neither in their own docstring nor in their file's.

    A part that holds nothing but others of its slot, as `a & b` does, is an operator, and no paper's.
    """
    tree = ast.parse(source)
    above = ast.get_docstring(tree) or ""
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(getattr(mark, "id", "") == "part" for mark in node.decorator_list)
        and not _operator(node)
        and not re.search(r"^Source: \S", f"{above}\n{ast.get_docstring(node) or ''}", re.M)
    ]


def _operator(node: ast.ClassDef) -> bool:
    slots = {ast.unparse(base) for base in node.bases}
    kinds = [ast.unparse(line.annotation) for line in node.body if isinstance(line, ast.AnnAssign)]
    return bool(kinds) and all(set(re.findall(r"\w+", kind)) - {"tuple"} <= slots for kind in kinds)


def wide_functions(source: str) -> list[str]:
    """Public functions and methods that take over eight arguments, `self` not counted."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and node.name not in COPIED
        and len([a for a in _arguments(node) if a.arg not in ("self", "cls")]) > MOST_ARGUMENTS
    ]


def flags(source: str) -> list[str]:
    """Functions with a parameter, and dataclasses with a field, whose default is True or False."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name not in COPIED:
            defaults = [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]
            found += [node.name for default in defaults if _boolean(default)]
        if isinstance(node, ast.ClassDef) and node.decorator_list:
            found += [
                f"{node.name}.{ast.unparse(line.target)}"
                for line in node.body
                if isinstance(line, ast.AnnAssign) and line.value is not None and _boolean(line.value)
            ]
    return found


def _boolean(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def _arguments(node: ast.FunctionDef) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def too_long(path: Path, lines: int) -> bool:
    """Over 400 lines, or over 150 in `parts`."""
    return lines > (LONGEST_PART if _in_parts(path) else LONGEST)


def _in_parts(path: Path) -> bool:
    return path.is_relative_to(PACKAGE / "parts")


def bare(source: str) -> bool:
    """Whether a file holds words at most, names things of other files again, or states signatures alone."""
    rest = [node for node in ast.parse(source).body if not isinstance(node, ast.Expr)]
    named = ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign
    return all(isinstance(node, named) or _signature(node) for node in rest)


def _signature(node: ast.stmt) -> bool:
    """A class, no part itself, whose methods do one thing at most: raise, or return their default."""
    methods = [line for line in getattr(node, "body", []) if isinstance(line, ast.FunctionDef)]
    steps = [[step for step in method.body if not isinstance(step, ast.Expr)] for method in methods]
    return isinstance(node, ast.ClassDef) and not node.decorator_list and all(len(body) <= 1 for body in steps)


def mirrors(path: Path) -> list[Path]:
    """Where, below `tests`, a source file's test may stand; experiments are a folder there, a notebook is a file."""
    relative = path.with_suffix(".py").relative_to(PACKAGE if path.is_relative_to(PACKAGE) else HOME)
    if relative.name != "__init__.py":
        return [relative.with_name(f"test_{relative.name}".replace("test___main__", "test_main"))]
    # a package's own file: beside its modules' tests, at the package's name, or a contract over its folder
    folder = relative.parent
    return [
        folder / "test_init.py",
        folder.with_name(f"test_{folder.name}.py") if folder.name else Path("test_init.py"),
        Path("contracts") / f"test_{folder.name}.py",
    ]


def untested(sources: dict[Path, str], tests: set[Path]) -> list[Path]:
    """Source files without a test at any mirrored path; those that only name things again need none."""
    return [path for path, text in sources.items() if not bare(text) and not tests & set(mirrors(path))]


def orphans(sources: set[Path], tests: set[Path]) -> list[Path]:
    """Tests without a source file; contracts, which hold over folders, and this file are not asked."""
    expected = {mirror for path in sources for mirror in mirrors(path)}
    return [path for path in tests if path not in expected and path.parts[0] != "contracts" and str(path) not in WHOLE]


@pytest.fixture(params=FILES + EXPERIMENT_FILES, ids=lambda path: str(path.relative_to(HOME)))
def path(request):
    return request.param


def test_imports_go_down_and_only_to_their_floors(path):
    assert not import_faults(module(path), path.read_text(encoding="utf-8"))


def test_parts_name_their_source(path):
    if _in_parts(path):
        assert not unsourced(path.read_text(encoding="utf-8"))


def test_files_are_short(path):
    assert not too_long(path, len(path.read_text(encoding="utf-8").splitlines()))


def test_public_functions_take_at_most_eight_arguments(path):
    assert not wide_functions(path.read_text(encoding="utf-8"))


def test_nothing_defaults_to_true_or_false(path):
    assert not flags(path.read_text(encoding="utf-8"))


def test_every_file_has_a_test():
    tests = {path.relative_to(TESTS) for path in TEST_FILES}
    assert not untested({path: path.read_text(encoding="utf-8") for path in FILES + EXPERIMENT_FILES}, tests)
    assert all(tests & set(mirrors(path)) for path in NOTEBOOKS)


def test_every_test_has_a_file():
    assert not orphans({*FILES, *EXPERIMENT_FILES, *NOTEBOOKS}, {path.relative_to(TESTS) for path in TEST_FILES})


@pytest.mark.parametrize(
    "name, source",
    [
        ("jattn.parts.scores.made", "from jattn.engines import tiled"),
        ("jattn.part", "import jattn.parts.masks"),
        ("jattn.engines.made", "def f():\n    from jattn.cli import main"),
        ("jattn.mechanisms.made", "from flax import nnx"),
        ("jattn.mechanisms.made", "import tokamax"),
        ("jattn.layers.made", "import optax"),
        ("jattn.parts.made", "import scipy"),
        ("jattn.parts.made", "from . import masks"),
        ("jattn.training.made", "from jax._src import core"),
        ("jattn.training.made", "import jax\njax.tree_map(f, x)"),
    ],
)
def test_an_import_against_the_rule_is_found(name, source):
    assert import_faults(name, source)


def test_imports_within_the_rule_pass():
    assert not import_faults("jattn.layers.made", "import jax\nfrom flax import nnx\nimport jattn.part")
    assert not import_faults("jattn.cli.made", "from jattn.training import loop")


def test_a_part_without_source_is_found():
    assert unsourced('"""No paper."""\n@part\nclass Made(Score):\n    """None here."""') == ["Made"]
    assert not unsourced('"""A paper.\n\nSource: Someone, 2020.\n"""\n@part\nclass Made(Score):\n    pass')


def test_a_long_file_is_found():
    assert too_long(PACKAGE / "parts" / "masks" / "made.py", 151) and too_long(PACKAGE / "layers" / "made.py", 401)
    assert not too_long(PACKAGE / "parts" / "masks" / "made.py", 150)


def test_a_ninth_argument_is_found():
    assert wide_functions("def made(a, b, c, d, e, f, *, g, h, i): ...") == ["made"]
    assert not wide_functions("class A:\n    def made(self, a, b, c, d, e, f, *, g, h): ...")
    assert not wide_functions("def dot_product_attention(a, b, c, d, e, f, g, h, i): ...")


def test_a_flag_is_found():
    assert flags("def made(x, *, loud=True): ...") == ["made"]
    assert flags("@part\nclass Made:\n    loud: bool = False") == ["Made.loud"]
    assert not flags("def made(x, loud=0, name=None): ...")


def test_a_missing_test_and_a_missing_file_are_found():
    made, face = PACKAGE / "parts" / "masks" / "made.py", PACKAGE / "made" / "__init__.py"
    slot = PACKAGE / "made" / "slot" / "__init__.py"
    abstract = "class Made(Part):\n    def f(self):\n        raise NotImplementedError"
    sources = {made: "def f(): ...", face: '"""Only words."""', slot: abstract}
    assert untested(sources, set()) == [made]
    report = EXPERIMENTS / "made" / "report.py"
    assert untested({report: "def f(): ..."}, {Path("made/test_report.py")}) == [report]
    assert not untested({report: "def f(): ..."}, {Path("experiments/made/test_report.py")})
    assert mirrors(EXPERIMENTS / "notebooks" / "made.ipynb") == [Path("experiments/notebooks/test_made.py")]
    assert not untested(sources, {Path("parts/masks/test_made.py")})
    assert orphans(set(sources), {Path("parts/masks/test_other.py")}) == [Path("parts/masks/test_other.py")]
    assert not orphans(set(sources), {Path("parts/masks/test_made.py"), Path("contracts/test_masks.py")})
