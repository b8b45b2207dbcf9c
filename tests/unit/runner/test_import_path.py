from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

from pytest_llmci.runner.import_path import ImportPath, import_path_for, merged

LIBRARY = sysconfig.get_path("stdlib")
PYTEST = [
    "/users/tests",
    "/users/root",
    os.path.join(os.path.dirname(LIBRARY), "python311.zip"),
    LIBRARY,
    os.path.join(LIBRARY, "lib-dynload"),
    sysconfig.get_path("purelib"),
    "/users/editable/src",
    "/users/root/tools",
]


def test_the_same_interpreter_is_given_all_in_its_order() -> None:
    assert import_path_for(PYTEST, same_interpreter=True) == ImportPath(before=tuple(PYTEST))


def test_another_one_is_given_what_is_the_users_on_the_side_where_it_was() -> None:
    assert import_path_for(PYTEST, same_interpreter=False) == ImportPath(
        before=("/users/tests", "/users/root"), behind=("/users/editable/src", "/users/root/tools")
    )


def test_the_folder_of_the_command_is_nobodys() -> None:
    command = sysconfig.get_path("scripts")
    found = import_path_for([command, *PYTEST], same_interpreter=False)
    assert found == import_path_for(PYTEST, same_interpreter=False)


def test_the_users_own_site_packages_stay_behind() -> None:
    assert import_path_for([site.getusersitepackages()], same_interpreter=False) == ImportPath(before=())


def test_a_program_below_the_prefix_is_the_users() -> None:
    program = str(Path(sys.prefix) / "src" / "app")
    assert import_path_for([program, *PYTEST], same_interpreter=False).before[0] == program


def test_a_folder_whose_name_only_begins_alike_is_no_library() -> None:
    assert import_path_for([LIBRARY + "-mine"], same_interpreter=False).before == (LIBRARY + "-mine",)


def test_the_private_directory_stays_last() -> None:
    path = ImportPath(before=("/a", "/b"), behind=("/c", "/lib", "/private"))
    assert merged(path, ["/b", "/lib", "/private"]) == ["/a", "/b", "/lib", "/c", "/private"]
