"""Names in templates: those that transformers provides, and those that lead out of a sandbox."""

from __future__ import annotations

import re

# huggingface/transformers, utils/chat_template_utils.py, and what its sandboxed environment adds.
GLOBALS = frozenset({"raise_exception", "strftime_now", "range", "dict", "namespace", "cycler", "joiner"})
# jinja2's own: transformers does not provide it, and it uses much memory
JINJA_GLOBALS = frozenset({"lipsum"})
SERVER_NAMES = frozenset(
    """self builtins os sys subprocess importlib posix nt pty ctypes marshal pickle shutil socket request
    get_flashed_messages url_for current_app""".split()  # noqa: SIM905
)
CODE_NAMES = frozenset(
    """popen execve execv getattr setattr delattr builtins mro func_globals func_code im_func im_self im_class gi_frame
    gi_code cr_frame cr_code ag_frame ag_code tb_frame tb_next f_globals f_locals f_builtins f_back f_code co_consts
    import_module load_module subclasses check_output Popen fromhex breakpoint""".split()  # noqa: SIM905
)
CALLED_NAMES = frozenset("system spawn eval exec compile open read write vars globals locals environ".split())  # noqa: SIM905
DUNDER = re.compile(r"(?<!\w)(?:_[A-Za-z]\w{0,60}?)?__[A-Za-z]\w{0,60}")  # also _Class__private


def is_private(name: str) -> bool:
    """Return whether a name begins with an underscore and is not underscores only."""
    return name.startswith("_") and name.strip("_") != ""
