"""Holds raw replies against the shapes of the official service model.

Botocore's parser takes what it knows and passes over the rest in silence, so a
wrong element name would only show as a missing value. Here every element must
be known, every scalar of its type, every word one of the enumeration's."""

import json
import re
import xml.etree.ElementTree as ElementTree

NAMESPACE = "{http://ec2.amazonaws.com/doc/2016-11-15/}"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def walk_reply(operation, body):
    """All faults of one reply, as a list of sentences."""
    root = ElementTree.fromstring(body)
    faults = []
    if root.tag != f"{NAMESPACE}{operation.name}Response":
        return [f"the root element is {root.tag}"]
    children = list(root)
    if not children or children[0].tag != f"{NAMESPACE}requestId" or not children[0].text:
        faults.append("requestId does not come first")
    rest = children[1:]
    if operation.output_shape is None:
        for child in rest:
            if (local(child), child.text) != ("return", "true"):
                faults.append(f"unknown element {local(child)}")
        return faults
    # EC2 itself sends `return` where its model has forgotten it.
    names = {wire_name(name, shape) for name, shape in operation.output_shape.members.items()}
    rest = [child for child in rest if local(child) != "return" or "return" in names]
    structure(operation.output_shape, rest, operation.name, faults)
    return faults


def walk_document(operation, body):
    """The same for services whose documents are the members themselves, as S3's are."""
    shape = operation.output_shape
    if shape is None:
        return [f"{len(body)} bytes that nobody expects"] if body else []
    inside = {name: member for name, member in shape.members.items() if "location" not in member.serialization}
    payload = shape.serialization.get("payload")
    if payload:
        shape, inside = shape.members[payload], shape.members[payload].members
    if not inside:
        return [f"{len(body)} bytes that nobody expects"] if body else []
    faults = []
    members(inside, shape.required_members, list(ElementTree.fromstring(body)), operation.name, faults)
    return faults


def local(element):
    return element.tag.rsplit("}", 1)[-1]


def is_flat(shape):
    return shape.type_name == "list" and shape.serialization.get("flattened")


def wire_name(name, shape):
    own = shape.serialization.get("name", name)
    return shape.member.serialization.get("name", own) if is_flat(shape) else own


def structure(shape, children, path, faults):
    members(shape.members, shape.required_members, children, path, faults)


def members(shapes, required, children, path, faults):
    known = {wire_name(name, member): member for name, member in shapes.items()}
    seen = set()
    for child in children:
        name = local(child)
        if name not in known:
            faults.append(f"{path}: unknown element {name}")
        elif is_flat(known[name]):
            seen.add(name)
            value(known[name].member, child, f"{path}.{name}", faults)
        elif name in seen:
            faults.append(f"{path}: {name} appears twice")
        else:
            seen.add(name)
            value(known[name], child, f"{path}.{name}", faults)
    for name in required:
        if name in shapes and wire_name(name, shapes[name]) not in seen:
            faults.append(f"{path}: required {name} is missing")


def value(shape, element, path, faults):
    kind = shape.type_name
    text = element.text or ""
    if kind == "structure":
        structure(shape, list(element), path, faults)
        return
    if kind == "list":
        for index, item in enumerate(element):
            wanted = shape.member.serialization.get("name", "member")
            if local(item) != wanted:
                faults.append(f"{path}: list element {local(item)} instead of {wanted}")
            value(shape.member, item, f"{path}[{index}]", faults)
        return
    if len(element):
        faults.append(f"{path}: a {kind} with children")
    fits = {
        "string": lambda: not getattr(shape, "enum", None) or text in shape.enum,
        "boolean": lambda: text in ("true", "false"),
        "integer": lambda: re.fullmatch(r"-?\d+", text),
        "long": lambda: re.fullmatch(r"-?\d+", text),
        "double": lambda: re.fullmatch(r"-?\d+(\.\d+)?", text),
        "float": lambda: re.fullmatch(r"-?\d+(\.\d+)?", text),
        "timestamp": lambda: TIMESTAMP.fullmatch(text),
    }
    if kind not in fits:
        faults.append(f"{path}: the walker knows no {kind}")
    elif not fits[kind]():
        faults.append(f"{path}: {text!r} is no {kind} of the model")


def walk_json(operation, body):
    """The same for a reply of a JSON service."""
    document = json.loads(body)
    faults = []
    if operation.output_shape is None:
        return [] if document in ({}, None) else [f"{operation.name}: a body where there is none"]
    json_value(operation.output_shape, document, operation.name, faults)
    return faults


def json_value(shape, value, path, faults):
    kind = shape.type_name
    wanted = {"structure": dict, "map": dict, "list": list, "string": str, "boolean": bool,
              "integer": int, "long": int, "timestamp": (int, float)}
    if kind not in wanted:
        faults.append(f"{path}: the walker knows no {kind}")
    elif not isinstance(value, wanted[kind]) or (kind != "boolean" and isinstance(value, bool)):
        faults.append(f"{path}: {value!r} is no {kind} of the model")
    elif kind == "structure":
        for name, inner in value.items():
            if name in shape.members:
                json_value(shape.members[name], inner, f"{path}.{name}", faults)
            else:
                faults.append(f"{path}: unknown member {name}")
        faults.extend(f"{path}: required {name} is missing" for name in shape.required_members if name not in value)
    elif kind == "map":
        for name, inner in value.items():
            json_value(shape.value, inner, f"{path}[{name}]", faults)
    elif kind == "list":
        for index, inner in enumerate(value):
            json_value(shape.member, inner, f"{path}[{index}]", faults)
    # Systems Manager itself sends empty words for what is not set.
    elif kind == "string" and value:
        if getattr(shape, "enum", None) and value not in shape.enum:
            faults.append(f"{path}: {value!r} is no word of the model")
        if len(value) > shape.metadata.get("max", len(value)):
            faults.append(f"{path}: {len(value)} characters")
        if not fits_pattern(shape.metadata.get("pattern"), value):
            faults.append(f"{path}: {value!r} does not have the form of the model")


def fits_pattern(pattern, value):
    # Some are written for other engines (`\\p{L}`, and groups numbered anew).
    if not pattern or re.search(r"\\p\{|\\17", pattern):
        return True
    return re.search(pattern, value) is not None
