# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacks archives for `archives`, in a process of its own that can do nothing else: `confinement` says what it can.

Standard input is a socket.  A job is a letter of `LETTERS` and comes with the file's descriptor.  The answer is frames:
a letter, the length of what follows (4 octets, big endian), and that.  m: a member begins, one octet whether it is
encrypted and its name.  d: octets of it.  e: it has ended.  f: something cannot be unpacked, one octet why (`BAD`,
`ENCRYPTED`, `MEMORY`) and a text.  z: the archive has ended.
"""

from __future__ import annotations

import array
import ctypes
import errno
import locale
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, Final

from .confinement import confine

PIECE: Final = 1 << 16

BAD: Final = 0
ENCRYPTED: Final = 1
MEMORY: Final = 2

#: For each format the functions of libarchive that enable it, `format_…` and `filter_…`.  A job enables one
#: format, so that a file of two formats is read as both.
FORMATS: Final = {
    "zip": ("format_zip",),
    "7z": ("format_7zip",),
    "rar": ("format_rar", "format_rar5"),
    "lha": ("format_lha",),
    "tar": ("format_tar",),
    "cpio": ("format_cpio",),
    "iso": ("format_iso9660",),
    "cab": ("format_cab",),
    "ar": ("format_ar",),
    **{
        # What comes out may be an archive, which is a job of its own: zeros would pass for an empty tar.
        name: (f"filter_{name}", "format_raw", "format_empty")
        for name in ("gzip", "bzip2", "compress", "xz", "lzma", "lzip", "zstd", "lz4")
    },
}
#: As jobs and frames name them.
LETTERS: Final = {bytes([97 + number]): name for number, name in enumerate(FORMATS)}

_EOF, _RETRY, _WARN, _FAILED = 1, -10, -20, -25
_REGULAR: Final = 0o100000
_LONGEST_NAME: Final = 1024


def load() -> Any:
    """The functions of libarchive (archive_read(3)).

    Raises: OSError.
    """
    library = ctypes.CDLL("libarchive.so.13")
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    library.archive_read_data.argtypes = (pointer, pointer, ctypes.c_size_t)
    library.archive_read_data.restype = ctypes.c_ssize_t
    library.archive_read_next_header.argtypes = (pointer, ctypes.POINTER(pointer))
    library.archive_read_set_format_option.argtypes = (pointer, text, text, text)
    library.archive_read_open_fd.argtypes = (pointer, ctypes.c_int, ctypes.c_size_t)
    library.archive_read_new.restype = pointer
    library.archive_error_string.restype = library.archive_entry_pathname.restype = text
    library.archive_entry_pathname_utf8.restype = text
    names = {function for functions in FORMATS.values() for function in functions}
    for name in [
        *(f"archive_read_support_{name}" for name in sorted(names)),
        *("archive_read_free", "archive_error_string", "archive_errno", "archive_read_has_encrypted_entries"),
        *("archive_filter_count", "archive_format"),
        *("archive_entry_pathname", "archive_entry_pathname_utf8", "archive_entry_filetype"),
        "archive_entry_is_data_encrypted",
    ]:
        getattr(library, name).argtypes = (pointer,)
    return library


def set_lha_names(library: Any, archive: Any) -> None:
    """Have names in LHA archives taken octet for octet: libarchive gives up an archive with one it cannot convert."""
    library.archive_read_set_format_option(archive, b"lha", b"hdrcharset", b"ISO-8859-1")


class _Unpacking:
    """One archive."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._archive = library.archive_read_new()
        self._buffer = ctypes.create_string_buffer(PIECE)
        self._is_lha = False

    def frames(self, descriptor: int, functions: tuple[str, ...]) -> Iterator[tuple[bytes, bytes]]:
        """Letter and content of each frame."""
        library, entry = self._library, ctypes.c_void_p()
        for function in functions:
            getattr(library, f"archive_read_support_{function}")(self._archive)
        self._is_lha = "format_lha" in functions
        if self._is_lha:
            set_lha_names(library, self._archive)
        status = library.archive_read_open_fd(self._archive, descriptor, PIECE)
        # Without its filter, a compressed file would be read as it is.
        is_compressed = library.archive_filter_count(self._archive) > 1
        if status >= _WARN and (is_compressed or not functions[0].startswith("filter")):
            while (status := library.archive_read_next_header(self._archive, ctypes.byref(entry))) >= _FAILED:
                if status == _EOF:
                    return
                if status in (_RETRY, _FAILED):
                    yield self._failure()
                elif library.archive_entry_filetype(entry) in (_REGULAR, 0):
                    yield from self._member(entry)
        yield self._failure()

    def _member(self, entry: ctypes.c_void_p) -> Iterator[tuple[bytes, bytes]]:
        library = self._library
        name = library.archive_entry_pathname(entry) or library.archive_entry_pathname_utf8(entry) or b""
        is_encrypted = bool(library.archive_entry_is_data_encrypted(entry))
        if self._is_lha:
            name = name.decode("utf-8", "replace").encode("latin-1", "replace")
        yield b"m", bytes([is_encrypted]) + name[:_LONGEST_NAME]
        while not is_encrypted and (count := library.archive_read_data(self._archive, self._buffer, PIECE)):
            if count < 0:
                yield self._failure()
                break
            yield b"d", self._buffer.raw[:count]
        yield b"e", b""

    def _failure(self) -> tuple[bytes, bytes]:
        text = self._library.archive_error_string(self._archive) or b""
        why = BAD
        if self._library.archive_errno(self._archive) == errno.ENOMEM:
            why = MEMORY
        # libarchive 3.6 crashes if it is asked this of what has no format.
        elif b"ncrypt" in text or (
            self._library.archive_format(self._archive)
            and self._library.archive_read_has_encrypted_entries(self._archive) > 0
        ):
            why = ENCRYPTED
        return b"f", bytes([why]) + text[:_LONGEST_NAME]

    def close(self) -> None:
        self._library.archive_read_free(self._archive)


def main() -> None:
    """Do jobs until there are no more."""
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    link = socket.socket(fileno=0)
    library = load()
    # This archive stays, and with it the tables of that charset, which no later one could load.
    first = library.archive_read_new()
    library.archive_read_support_format_lha(first)
    set_lha_names(library, first)
    confine()
    while True:
        letter, ancillary, _flags, _address = link.recvmsg(1, socket.CMSG_SPACE(array.array("i", [0]).itemsize))
        if not letter:
            return
        (descriptor,) = array.array("i", ancillary[0][2])
        unpacking = _Unpacking(library)
        for kind, content in unpacking.frames(descriptor, FORMATS[LETTERS[letter]]):
            link.sendall(struct.pack(">cI", kind, len(content)) + content)
        unpacking.close()
        socket.close(descriptor)
        link.sendall(struct.pack(">cI", b"z", 0))


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, ConnectionResetError):
        # The gate wants no more of it.
        sys.exit(1)
