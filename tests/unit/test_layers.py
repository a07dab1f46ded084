"""Reads tests/unit/layers.txt, the table of who may include whom, and fails on any #include that breaks it."""
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def read_table():
    layers, third_party = {}, {}
    with open(os.path.join(ROOT, "tests/unit/layers.txt")) as table:
        for line in table:
            line = line.split("#")[0].strip()
            if not line:
                continue
            name, _, rest = line.partition(":")
            (third_party if name.startswith("<") else layers)[name] = set(rest.split())
    return layers, third_party


def folder_of(path, layers):
    fits = [name for name in layers if path.startswith(name + "/")]
    return max(fits, key=len) if fits else None


def check_include(path, folder, line, layers, third_party):
    local = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
    if local:
        target = folder_of(local.group(1), layers)
        if target is None:
            return f'includes "{local.group(1)}", which isn\'t a path from the root'
        if target != folder and target not in layers[folder]:
            return f"{folder} may not include {target} ({local.group(1)})"
    system = re.match(r"\s*#\s*include\s+(<[^>]+>)", line)
    if system:
        for prefix, allowed in third_party.items():
            if system.group(1).startswith(prefix) and folder not in allowed:
                return f"{folder} may not include {system.group(1)}"
    return None


def main():
    layers, third_party = read_table()
    broken, files = [], 0
    for folder in layers:
        for directory, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                path = os.path.relpath(os.path.join(directory, name), ROOT)
                if not name.endswith((".c", ".h")) or folder_of(path, layers) != folder:
                    continue
                files += 1
                with open(os.path.join(ROOT, path)) as source:
                    for number, line in enumerate(source, 1):
                        why = check_include(path, folder, line, layers, third_party)
                        if why:
                            broken.append(f"{path}:{number}: {why}")
    print("\n".join(broken) if broken else f"{files} files keep the layers")
    return 1 if broken or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
