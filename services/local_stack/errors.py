"""What can keep the stack from starting. Each message names the value, the rule and the remedy.

StackError
├── DataFolderError      cannot be written, or another stack holds it
├── PortInUseError       another process listens there
├── ServerMissingError   no Redis-compatible server on this machine
├── SettingRefusedError  a variable holds what no service can use
└── ChildFailedError     a service ended before it was ready
"""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot start; the message is meant for the person who started it."""


class DataFolderError(StackError):
    """The data folder cannot be used."""


class PortInUseError(StackError):
    """A port that the stack needs is taken."""


class ServerMissingError(StackError):
    """No Redis-compatible server binary was found."""


class SettingRefusedError(StackError):
    """A setting that the services share cannot be used."""


class ChildFailedError(StackError):
    """A service ended, or did not answer, before it was ready."""
