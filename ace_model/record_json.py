"""The LCU record as JSON: read, checked, brought up to date, written.

record.schema.json says the same for other languages; what a schema cannot say (ids, order, references) Record itself checks.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from math import isfinite
from typing import Any

from .lcu import MAX_IMAGES, MAX_TEXT, shorten
from .outpaint import SIDES
from .record import Answer, Picture, Record, RecordError, Settings, Turn, shown

VERSION = 1
MAX_DEPTH = 100  # of meta
MAX_SEED = 2**64 - 1
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
KEY = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")


def read(source: str | bytes) -> Record:
    """A record from JSON, older versions brought up to date. Raises RecordError; nothing is read in part."""
    try:
        data = json.loads(source, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise RecordError("the record is nested too deeply to be one: use another copy.") from None
    except UnicodeDecodeError as error:
        raise RecordError(f"the record is not valid UTF-8 (byte {error.start}): use another copy, or another file.") from None
    except json.JSONDecodeError as error:
        raise RecordError(f"the record is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}. If it ends "
                          "there, it was cut off: use a whole copy.") from None
    except ValueError as error:
        raise error if isinstance(error, RecordError) else RecordError(
            "the record has a number with too many digits: use another copy.") from None
    return from_data(data)


def from_data(data: Any) -> Record:
    """As `read`, from what JSON became."""
    version = data.get("version") if isinstance(data, dict) else None
    if type(version) is not int or version < 1:
        raise RecordError(f"version is {shown(version)}, but a record begins with {{\"version\": {VERSION}, \"turns\": […]}}: "
                          "use such a file.")
    if version > VERSION:
        raise RecordError(f"version is {version}, but this ACE Editor reads records up to version {VERSION}: update the pack "
                          "(ComfyUI Manager, or git pull).")
    return _record(data, "the record")


def to_data(record: Record) -> dict:
    """What JSON can hold."""
    return {"version": VERSION, "at": record.at, "turns": [_plain(turn) for turn in record.turns]}


def write(record: Record, indent: int | None = None) -> str:
    """JSON; `read` gives the same record back."""
    return json.dumps(to_data(record), ensure_ascii=False, indent=indent)


# Rules of the fields: each takes a value and its place in the record, and gives what the record holds, or raises RecordError.

Rule = Callable[[Any, str], Any]


def whole(low: int, high: int, step: int = 1) -> Rule:
    def rule(value, where):
        if type(value) is not int or not low <= value <= high or value % step:
            raise _wrong(where, value, f"a whole number from {low} to {high}" + f", a multiple of {step}" * (step > 1))
        return value
    return rule


def number(low: float, high: float) -> Rule:
    def rule(value, where):
        if type(value) not in (int, float) or not low <= value <= high:
            raise _wrong(where, value, f"a number from {low:g} to {high:g}")
        return float(value)
    return rule


def text(most: int, what: str = "a text", form: re.Pattern | None = None) -> Rule:
    def rule(value, where):
        if type(value) is not str or len(value) > most or form and not form.fullmatch(value):
            raise _wrong(where, value, f"{what} of at most {most:,} characters" if form is None else what)
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # halves of characters cannot be saved
    return rule


def truth(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise _wrong(where, value, "true or false")
    return value


def maybe(rule: Rule) -> Rule:
    return lambda value, where: None if value is None else rule(value, where)


def several(rule: Rule, most: int, least: int = 0) -> Rule:
    def rules(value, where):
        if type(value) is not list or not least <= len(value) <= most:
            raise _wrong(where, value, f"a list of {least or f'at most {most:,}'}")
        return tuple(rule(item, f"{where}[{i}]") for i, item in enumerate(value))
    return rules


def mapping(make: Callable, rules: Mapping[str, Rule], required: Sequence[str] = (), renamed: Mapping[str, str] | None = None
            ) -> Rule:
    """An object with these fields; renamed: {field in JSON: argument of `make`} where they differ."""
    def rule(value, where):
        if type(value) is not dict:
            raise _wrong(where, value, "an object")
        inside = "" if where == "the record" else f"{where}."
        for name in value:
            if name not in rules:
                raise RecordError(f"{inside}{shorten(str(name))} is not a field of a record: use one of {', '.join(rules)}, or "
                                  "put it into meta of its turn.")
        for name in required:
            if name not in value:
                raise RecordError(f"{inside}{name} is missing: {where} needs it.")
        found = {name: rules[name](item, f"{inside}{name}") for name, item in value.items()}
        return make(**{(renamed or {}).get(name, name): item for name, item in found.items()})
    return rule


def relative(value: Any, where: str) -> str:
    """A file's name that stays in its folder."""
    name = text(1024, "the name of a file", re.compile(r"[^\x00-\x1f\\:]+"))(value, where)
    if name.startswith("/") or name.endswith("]") or {".", "..", ""} & set(name.split("/")):
        raise _wrong(where, value, "a name inside its folder, such as album/cat.png, without .., a leading / or a trailing ]")
    return name


def meta(value: Any, where: str) -> dict:
    if type(value) is not dict:
        raise _wrong(where, value, "an object")
    return _writable(value, where, MAX_DEPTH)


def _writable(value: Any, where: str, depth: int) -> Any:
    """What JSON can hold and any program can read again."""
    if depth == 0:
        raise RecordError(f"{where} is nested more than {MAX_DEPTH} deep: keep less with the turn.")
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float) and not isfinite(value):
        raise RecordError(f"{where} has a number that is not finite: use another copy.")
    if isinstance(value, list):
        return [_writable(item, where, depth - 1) for item in value]
    if isinstance(value, dict):
        return {_writable(name, where, depth): _writable(item, where, depth - 1) for name, item in value.items()}
    return value


def _picture(value: Any, where: str) -> Picture:
    if isinstance(value, dict) and ("file" in value) == ("answer_of" in value):
        raise RecordError(f"{where} must have either file or answer_of: a picture is a file or the answer of an earlier turn.")
    if isinstance(value, dict) and "answer_of" in value and "in" in value:
        raise RecordError(f"{where} has both answer_of and in: leave out in, the answer knows its folder.")
    return _any_picture(value, where)


_place = text(16, "\"input\" or \"output\"", re.compile("input|output"))
_name = text(64, "1 to 64 letters, digits, - or _", ID)
_any_picture = mapping(Picture, {"file": relative, "in": _place, "answer_of": _name}, renamed={"in": "place"})
_settings = mapping(Settings, {
    "steps": whole(0, 1000), "guidance": number(0, 100), "rescale": number(0, 1), "sampler": text(64, "a sampler's name"),
    "negative": text(MAX_TEXT), "width": whole(0, 4096, 16), "height": whole(0, 4096, 16),
    "target_image": whole(0, MAX_IMAGES - 1), "token_budget": whole(0, 16384), "max_rounds": whole(0, MAX_IMAGES),
    "grow": whole(0, 256), "feather": whole(0, 256)})
_answer = mapping(Answer, {"file": relative, "in": _place, "key": text(33, "a key as the pack writes it", KEY)},
                  ("file", "in", "key"), {"in": "place"})
_any_turn = mapping(Turn, {
    "id": _name, "parent": maybe(_name), "instruction": text(MAX_TEXT), "images": several(_picture, MAX_IMAGES),
    "masks": several(maybe(_picture), MAX_IMAGES), "blank": truth, "room": several(number(0, 4), len(SIDES), len(SIDES)),
    "seed": whole(0, MAX_SEED), "settings": _settings, "answer": maybe(_answer), "target": maybe(_picture), "meta": meta},
    ("id", "instruction"))


def _turn(value: Any, where: str) -> Turn:
    turn = _any_turn(value, where)
    if len(turn.masks) > len(turn.images):
        raise RecordError(f"{where}.masks has more masks ({len(turn.masks)}) than the turn has images ({len(turn.images)}): "
                          "give each mask its image, or leave out masks.")
    if any(turn.room):
        target = turn.settings.target_image
        if target >= len(turn.images):
            raise RecordError(f"{where}.room adds room around image {target}, which the turn does not have: add that image, or "
                              "set room to [0, 0, 0, 0].")
        if target < len(turn.masks) and turn.masks[target]:
            raise RecordError(f"{where} has both room and a mask for image {target}, but the room is the mask: leave out one "
                              "of them.")
    return turn


_record = mapping(lambda turns, at=None, version=VERSION: Record(turns, at), {
    "version": lambda value, where: value, "at": maybe(_name), "turns": several(_turn, 10_000)}, ("turns",))


def _plain(value: Any) -> Any:
    """A Turn and all in it as JSON's objects, without what is empty by default."""
    if isinstance(value, Picture | Answer):
        return {{"place": "in"}.get(name, name): item for name, item in asdict(value).items() if item}
    if isinstance(value, Settings):
        return asdict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Turn):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)
                if f.name not in ("room", "answer", "target", "meta") or getattr(value, f.name) not in ((0.0,) * 4, None, {})}
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict:
    out = {}
    for name, value in pairs:
        if name in out:
            raise RecordError(f"the record has {shown(name)} twice in one object: leave out one of them.")
        out[name] = value
    return out


def _no_constant(name: str):
    raise RecordError(f"the record has {name}, but its numbers must be finite: use another copy.")


def _wrong(where: str, value: Any, wanted: str) -> RecordError:
    return RecordError(f"{where} is {shown(value)}, but must be {wanted}.")
