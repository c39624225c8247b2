"""A Godot 4 project around one script: the files that the engine needs, in a folder or in a pack."""

from __future__ import annotations

from pathlib import Path

from golden import CLIENTS

DRIVER = Path(__file__).with_name("godot4") / "driver_4.gd"
PROJECT = '''config_version=5

[application]

run/main_scene="res://main.tscn"
'''
SCENE = '''[gd_scene load_steps=2 format=3]

[ext_resource type="Script" path="res://SCRIPT" id="1"]

[node name="Main" type="Node"]
script = ExtResource("1")
PROPERTIES
'''


def project_files(script: Path, properties: str = "") -> dict[str, bytes]:
    """Contents by path: a scene whose node has `script` and `properties`, and the client beside it."""
    scene = SCENE.replace("SCRIPT", script.name).replace("PROPERTIES", properties)
    return {path.name: path.read_bytes() for path in (*(CLIENTS / "godot4").glob("cervello_*.gd"), script)} | {
        "project.godot": PROJECT.encode(), "main.tscn": scene.encode(), ".godot/global_script_class_cache.cfg": b"list=[]\n"}


def write_project(folder: Path, script: Path, properties: str = "") -> None:
    """Writes the files into a folder."""
    for name, content in project_files(script, properties).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
