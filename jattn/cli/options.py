"""Words of a command line to fields of nested dataclasses, and a page of help from the same fields."""

import ast
import dataclasses
import json
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from jattn import catalogue
from jattn.mechanisms import Mechanism
from jattn.mechanisms.linear import LinearAttention
from jattn.part import Part
from jattn.parts.features import Feature
from jattn.parts.masks import Full

Given = dict[str, list[str]]

# what belongs to the tokens of a model, and stays where another attention is chosen by name
PLACED = ("position", "context_axis", "order")


class Field(typing.NamedTuple):
    """One option: its name on the command line, its type, its value now, and the slot that it chooses from, if any.

    `of` is the class that has it, whose docstring says what it does.
    """

    name: str
    kind: Any
    value: Any
    slot: type | None
    of: type


def given(argv: Sequence[str]) -> Given:
    """Each option with the words behind it; `--name=word` is read like `--name word`, hyphens like underscores."""
    found: Given = {}
    words = None
    for word in argv:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            # the last of two wins
            words = found[name.replace("-", "_")] = [value] if equals else []
        elif words is None:
            raise ValueError(f"Options begin with two hyphens, got {word!r}; write --name value.")
        else:
            words.append(word)
    return found


def bare(found: Given, name: str) -> bool:
    """Takes a word without a value out of the options; whether it was there."""
    if words := found.get(name):
        raise ValueError(f"{flag(name)} takes no value, got {' '.join(words)!r}; write it alone.")
    return found.pop(name, None) is not None


def build(held: Any, found: Given, path: str = "") -> Any:
    """`held` with the fields that were found: first the parts chosen by name, then the fields of what was chosen."""
    changes = {}
    for field in _own(held, path):
        value = field.value
        if field.name in found:
            value = _chosen(field, found[field.name]) if field.slot else typed(field, found[field.name])
            if field.slot is Mechanism:
                value = _placed(value, field.value)
        if isinstance(value, tuple):
            value = tuple(_deeper(member, found, f"{field.name}.{number}") for number, member in enumerate(value))
        value = _deeper(value, found, field.name)
        if value != field.value:
            changes[field.name.rpartition(".")[2]] = value
    return dataclasses.replace(held, **changes) if changes else held


def refuse_unknown(found: Given, held: Sequence[Any], command: str) -> None:
    """Refuses an option that no field answers to, with the names nearest to it."""
    known = [field.name for each in held for field in fields(each)]
    for name in found:
        if name not in known:
            near = catalogue.nearest(flag(name), [flag(each) for each in known])
            near = near or f"jattn {command} --help lists them"
            raise ValueError(f"jattn {command} has no option {flag(name)}; {near}.")


def fields(held: Any, path: str = "") -> Iterator[Field]:
    """Every option of a dataclass and of what its fields hold, outermost first; members of a tuple by number."""
    for field in _own(held, path):
        if field.slot or not dataclasses.is_dataclass(field.value):
            yield field
        members = enumerate(field.value) if isinstance(field.value, tuple) else ()
        for name, value in [(field.name, field.value), *((f"{field.name}.{n}", member) for n, member in members)]:
            if dataclasses.is_dataclass(value):
                yield from fields(value, name)


def flag(name: str) -> str:
    """A field's name as a command line writes it."""
    return "--" + name.replace("_", "-")


def typed(field: Field, words: Sequence[str]) -> Any:
    """The words as the field's type, read by jsonargparse."""
    import jsonargparse

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=field.kind)
    text = " ".join(words)
    try:
        # an empty word is a variable of the shell that was never set
        if not words or "" in words:
            raise ValueError
        several = tuple[str, ...] in _options(field.kind) or len(words) > 1 and _tuples(field.kind)
        value = json.dumps([_number(word) for word in words] if _numbers(field.kind) else words) if several else text
        # "none" as Python prints it, "null" as jsonargparse reads it
        value = "null" if text.lower() == "none" and types.NoneType in _options(field.kind) else value
        return parser.parse_args([f"--value={value}"]).value
    except Exception as error:
        if isinstance(error, OSError | ImportError):
            raise
        got = repr(text) if any(words) else "nothing"
        rule = f"{flag(field.name)} takes {kind_words(field.kind)}"
        raise ValueError(f"{rule}, got {got}; without the option it is {shown(field.value)!r}.") from None


def kind_words(kind: Any) -> str:
    """A type as a reader says it."""
    options = _options(kind)
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(str, options))
    names = {int: "a whole number", float: "a number", str: "text", types.NoneType: "none"}
    return " or ".join(names.get(option, "values, one after another") for option in options)


def page(command: str, sentence: str, held: Sequence[Any]) -> str:
    """The help of a command: every option of what is held, a group for each object that has some, with what it says.

    `sentence` opens the page and is not said again.
    """
    import jsonargparse

    parser = jsonargparse.ArgumentParser(prog=f"jattn {command}", usage="%(prog)s [--option value ...]")
    parser.description = sentence
    groups: dict[str, Any] = {}
    for each in held:
        for field in fields(each):
            title = field.name.rpartition(".")[0] or type(each).__name__.lower()
            if title not in groups:
                told = field.of.__doc__
                groups[title] = parser.add_argument_group(title, None if told == sentence else told)
            names = _names(field.slot) if field.slot else ""
            # help strings are %-formats; a destination with dots would nest an option under its own part
            groups[title].add_argument(
                flag(field.name),
                dest=field.name.replace(".", "/"),
                metavar="NAME" if names else "VALUE",
                default=shown(field.value),
                help=(f"one of {names}{_or_none(field)}" if names else kind_words(field.kind)).replace("%", "%%"),
            )
    return parser.format_help()


def shown(value: Any) -> str:
    """A value as one would type it; parts by name."""
    if isinstance(value, tuple):
        return " ".join(map(shown, value)) or "none"
    if value is None:
        return "none"
    if isinstance(value, Part):
        return catalogue.snake(type(value).__name__)
    return value if isinstance(value, str) and value.isprintable() else repr(value)


def _own(held: Any, path: str) -> Iterator[Field]:
    kinds = typing.get_type_hints(type(held))
    for field in dataclasses.fields(held):
        kind = kinds[field.name]
        name = f"{path}.{field.name}" if path else field.name
        yield Field(name, kind, getattr(held, field.name), _slot(kind), type(held))


def _deeper(value: Any, found: Given, path: str) -> Any:
    return build(value, found, path) if dataclasses.is_dataclass(value) else value


def _options(kind: Any) -> tuple:
    union = typing.get_origin(kind) in (typing.Union, types.UnionType, typing.Literal)
    return typing.get_args(kind) if union else (kind,)


def _tuples(kind: Any) -> list:
    return [option for option in _options(kind) if typing.get_origin(option) is tuple]


def _numbers(kind: Any) -> bool:
    return any(member in (int, float) for option in _tuples(kind) for member in typing.get_args(option))


def _number(word: str) -> Any:
    return json.loads(word)


def _slot(kind: Any) -> type | None:
    """The slot that a field's type names, alone or in a tuple; a type with no parts to choose from is none.

    A part that may be left out is its own and only choice.
    """
    options = [*_options(kind), *(member for option in _tuples(kind) for member in typing.get_args(option))]
    slots = [option for option in options if isinstance(option, type) and issubclass(option, Part)]
    optional = slots[0] if slots and types.NoneType in options else None
    return next((slot for slot in slots if catalogue.choices(slot)), optional)


def _names(slot: type) -> str:
    if not catalogue.choices(slot):
        return catalogue.snake(slot.__name__)
    entries = [entry for entry in catalogue.choices(slot) if not _joins(slot, entry)]
    entries += catalogue.choices(beside) if (beside := _beside(slot)) else ()
    return ", ".join(catalogue.snake(entry.name) for entry in entries)


def _or_none(field: Field) -> str:
    return ", none" if types.NoneType in _options(field.kind) else ""


def _beside(slot: type) -> type | None:
    # linear attention goes by the name of its features too, as papers have it
    return Feature if slot is Mechanism else None


def _chosen(field: Field, words: Sequence[str]) -> Any:
    """New parts from their names: several where the field is a tuple, one, or one combined of several by & | ~."""
    if not words:
        raise ValueError(f"{flag(field.name)} takes the name of a part, got nothing; it has {_names(field.slot)}.")
    if types.NoneType in _options(field.kind) and [word.lower() for word in words] == ["none"]:
        return None
    if not _tuples(field.kind):
        return combined(field.slot, " ".join(words))
    names = [name for word in words for name in word.split(",") if name]
    return () if names == ["none"] else tuple(catalogue.find(field.slot, name)() for name in names)


def _placed(chosen: Mechanism, before: Any) -> Mechanism:
    """An attention chosen by name, with the positions, axis and order of that in whose place it comes."""
    ours, theirs = (typing.get_type_hints(type(each)) for each in (chosen, before))
    shared = (name for name in PLACED if name in ours and ours[name] == theirs.get(name))
    held = {name: getattr(before, name) for name in shared}
    # what an order is to linear attention a mask is to softmax: an encoder stays one
    if "order" in ours and getattr(before, "mask", None) == Full():
        held["order"] = "full"
    return dataclasses.replace(chosen, **held)


def combined(slot: type, text: str) -> Any:
    """A part by name, or masks by an expression such as `causal & ~window`."""
    if not any(sign in text for sign in "&|~"):
        return _named(slot, text)
    if not hasattr(slot, "__and__"):
        raise ValueError(f"Masks alone combine by & | ~, got {text!r} for {slot.__name__}; choose one part.")
    try:
        tree = ast.parse(text.strip().replace("-", "_"), mode="eval")
    except SyntaxError:
        raise ValueError(f"Masks combine by & | ~ and parentheses, got {text!r}; write 'causal & window'.") from None
    return _evaluate(tree.body, slot)


def _evaluate(node: ast.expr, slot: type) -> Any:
    match node:
        case ast.BinOp(left, ast.BitAnd(), right):
            return _evaluate(left, slot) & _evaluate(right, slot)
        case ast.BinOp(left, ast.BitOr(), right):
            return _evaluate(left, slot) | _evaluate(right, slot)
        case ast.UnaryOp(ast.Invert(), inner):
            return ~_evaluate(inner, slot)
    return _named(slot, ast.unparse(node))


def _joins(slot: type, entry: catalogue.Entry) -> bool:
    # what has no source of its own only joins other masks; alone it would let every query see every key
    return hasattr(slot, "__and__") and not entry.source


def _named(slot: type, name: str) -> Any:
    if not catalogue.choices(slot):
        own = catalogue.snake(slot.__name__)
        if catalogue.plain(name) != catalogue.plain(own):
            raise ValueError(f"This part is {own} or none, got {name!r}; choose one of these.")
        return slot()
    found = catalogue.find(slot, name, _beside(slot))
    if slot is Mechanism and issubclass(found, Feature):
        return LinearAttention(found())
    if any(_joins(slot, entry) for entry in catalogue.choices(slot) if entry.name == found.__name__):
        raise ValueError(f"{catalogue.snake(found.__name__)} joins other parts, got it alone; write 'causal & window'.")
    return found()
