# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of LHA (.lzh), stored and packed; no two octets are taken together, so they are no smaller."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

_POLYNOMIAL: Final = 0xA001


def lha(name: str, content: bytes, method: str = "lh5", level: int = 0) -> bytes:
    """An archive with one file, by -lh0-, -lh1-, -lh4-, -lh5-, -lh6- or -lh7-, with a header of level 0, 1 or 2."""
    packed = _PACKERS[method](content)
    written = name.encode("cp932")
    fields = f"-{method}-".encode() + struct.pack("<III", len(packed), len(content), 0x21) + bytes([0x20, level])
    checksum = struct.pack("<H", _crc16(content))
    if level == 2:
        # Extended headers: the name, and first the checksum of the header, which counts as 0 in it.
        extended = struct.pack("<HBHHB", 5, 0, 0, len(written) + 3, 1) + written + b"\0\0"
        header = struct.pack("<H", 2 + len(fields) + 3 + len(extended)) + fields + checksum + b"M" + extended
        at = header.index(extended) + 3
        return header[:at] + struct.pack("<H", _crc16(header)) + header[at + 2 :] + packed + b"\0"
    header = fields + bytes([len(written)]) + written + checksum + (b"M\0\0" if level else b"")
    return bytes([len(header), sum(header) & 0xFF]) + header + packed + b"\0"


def _crc16(content: bytes) -> int:
    value = 0
    for octet in content:
        value ^= octet
        for _bit in range(8):
            value = value >> 1 ^ _POLYNOMIAL * (value & 1)
    return value


def _bits(numbers: Iterator[tuple[int, int]]) -> bytes:
    """Octets of (value, number of bits), the highest bit first."""
    text = "".join(f"{value:0{count}b}" for value, count in numbers)
    text += "0" * (-len(text) % 8)
    return int(f"1{text}", 2).to_bytes(len(text) // 8 + 1, "big")[1:]


def _static(position_bits: int) -> Callable[[bytes], bytes]:
    """-lh4- to -lh7-: one block whose code for each octet is the octet itself."""

    def pack(content: bytes) -> bytes:
        def numbers() -> Iterator[tuple[int, int]]:
            yield len(content), 16
            # All code lengths have one code, of no bits, which stands for 8: 10 in the table of lengths.
            yield from ((0, 5), (10, 5))
            yield 256, 9
            # One code for positions, of no bits; none is used.
            yield from ((0, position_bits), (0, position_bits))
            yield from ((octet, 8) for octet in content)

        assert 0 < len(content) < 1 << 16
        return _bits(numbers())

    return pack


class _Tree:
    """The codes of -lh1-: a Huffman tree of octets and of lengths of matches that changes with each code."""

    LEAVES: Final = 314
    NODES: Final = 2 * 314 - 1

    def __init__(self) -> None:
        leaves, nodes = self.LEAVES, self.NODES
        self.weight = [1] * leaves + [0] * (nodes - leaves) + [0xFFFF]
        self.child = [number + nodes for number in range(leaves)] + [0] * (nodes - leaves)
        self.parent = [0] * nodes + list(range(leaves))
        for pair, node in enumerate(range(leaves, nodes)):
            left = 2 * pair
            self.weight[node] = self.weight[left] + self.weight[left + 1]
            self.child[node] = left
            self.parent[left] = self.parent[left + 1] = node

    def code(self, symbol: int) -> tuple[int, int]:
        """Value and number of bits, and change the tree."""
        value = count = 0
        node = self.parent[symbol + self.NODES]
        while node != self.NODES - 1:
            value |= (node & 1) << count
            count += 1
            node = self.parent[node]
        self._count(self.parent[symbol + self.NODES])
        return value, count

    def _count(self, node: int) -> None:
        """Add one to a node and to all above it; heavier nodes stand behind lighter ones."""
        while True:
            self.weight[node] += 1
            weight, last = self.weight[node], node
            while self.weight[last + 1] < weight:
                last += 1
            if last != node:
                self.weight[node], self.weight[last] = self.weight[last], weight
                self._swap(node, last)
                node = last
            if node == self.NODES - 1:
                return
            node = self.parent[node]

    def _swap(self, one: int, other: int) -> None:
        self.child[one], self.child[other] = self.child[other], self.child[one]
        for node in (one, other):
            child = self.child[node]
            self.parent[child] = node
            if child < self.NODES:
                self.parent[child + 1] = node


def _dynamic(content: bytes) -> bytes:
    """-lh1-."""
    # With more the weights would be halved.
    assert len(content) < 30_000
    tree = _Tree()
    return _bits(tree.code(octet) for octet in content)


_PACKERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "lh0": bytes,
    "lh1": _dynamic,
    "lh4": _static(4),
    "lh5": _static(4),
    "lh6": _static(5),
    "lh7": _static(5),
}
