"""What every command shares: declaration, options, exit codes, signals, tables, child processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.commands.cli.child import run_command, verify_in_fresh_process
    from llorch.commands.cli.completion import SHELLS, complete_reference, completion_script
    from llorch.commands.cli.declaration import (
        F,
        Guarded,
        GuardedGroup,
        command,
        epilog,
        group,
        is_terminal,
        note,
        progress,
        subcommand,
        write_json,
    )
    from llorch.commands.cli.exit_codes import (
        NO_SUCH_FILE,
        ChildFailed,
        Failure,
        OutputError,
        exit_code_of,
        failure,
        one_line,
        os_error_line,
    )
    from llorch.commands.cli.options import (
        LEVELS,
        allow_option,
        allowances,
        device_option,
        mode_option,
        reference_argument,
        registry_option,
        verify_option,
    )
    from llorch.commands.cli.signals import SIGNALS, Signalled
    from llorch.commands.cli.tables import (
        UNITS,
        Cell,
        age,
        digest,
        flat,
        size,
        text,
        write_document,
        write_rows,
        write_table,
    )

__all__ = [
    "LEVELS",
    "NO_SUCH_FILE",
    "SHELLS",
    "SIGNALS",
    "UNITS",
    "Cell",
    "ChildFailed",
    "F",
    "Failure",
    "Guarded",
    "GuardedGroup",
    "OutputError",
    "Signalled",
    "age",
    "allow_option",
    "allowances",
    "command",
    "complete_reference",
    "completion_script",
    "device_option",
    "digest",
    "epilog",
    "exit_code_of",
    "failure",
    "flat",
    "group",
    "is_terminal",
    "mode_option",
    "note",
    "one_line",
    "os_error_line",
    "progress",
    "reference_argument",
    "registry_option",
    "run_command",
    "size",
    "subcommand",
    "text",
    "verify_in_fresh_process",
    "verify_option",
    "write_document",
    "write_json",
    "write_rows",
    "write_table",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "child": ["run_command", "verify_in_fresh_process"],
        "completion": ["SHELLS", "complete_reference", "completion_script"],
        "declaration": [
            "F",
            "Guarded",
            "GuardedGroup",
            "command",
            "epilog",
            "group",
            "is_terminal",
            "note",
            "progress",
            "subcommand",
            "write_json",
        ],
        "exit_codes": [
            "ChildFailed",
            "Failure",
            "NO_SUCH_FILE",
            "OutputError",
            "exit_code_of",
            "failure",
            "one_line",
            "os_error_line",
        ],
        "options": [
            "LEVELS",
            "allow_option",
            "allowances",
            "device_option",
            "mode_option",
            "reference_argument",
            "registry_option",
            "verify_option",
        ],
        "signals": ["SIGNALS", "Signalled"],
        "tables": [
            "Cell",
            "UNITS",
            "age",
            "digest",
            "flat",
            "size",
            "text",
            "write_document",
            "write_rows",
            "write_table",
        ],
    },
)
