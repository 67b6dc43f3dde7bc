"""What the first bytes of an image file tell, without decoding it."""

import struct


def size_in_header(contents):
    """Reads the size of an image.

    Args:
        contents: The bytes of a file.

    Returns:
        (width, height) in pixels, (0, 0) where the file ends before it tells, or `None`
        if it is no JPEG, PNG, BMP, GIF or WebP.
    """
    for start, read in READERS.items():
        if contents.startswith(start):
            try:
                return read(contents)
            except (struct.error, IndexError):
                return 0, 0
    return None


def is_animated_webp(contents):
    """Returns whether a WebP has more than one frame."""
    return (
        contents[:4] == b"RIFF" and contents[8:16] == b"WEBPVP8X" and contents[20] & 2
    )


def _jpeg(contents):
    place = 2
    while True:
        _, marker, size = struct.unpack_from(">BBH", contents, place)
        if marker == 0xFF:  # A filling byte.
            place += 1
        # The frame header, of any of the ways to code; the others are tables.
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", contents, place + 5)
            return width, height
        else:
            place += 2 + size


def _bmp(contents):
    width, height = struct.unpack_from("<ii", contents, 18)
    return abs(width), abs(height)


def _webp(contents):
    kind = contents[8:16]
    if kind == b"WEBPVP8 ":
        width, height = struct.unpack_from("<HH", contents, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"WEBPVP8L":
        (packed,) = struct.unpack_from("<I", contents, 21)
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    if kind == b"WEBPVP8X":
        low = struct.unpack_from("<HBHB", contents, 24)
        return low[0] + (low[1] << 16) + 1, low[2] + (low[3] << 16) + 1
    return 0, 0


READERS = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG\r\n\x1a\n": lambda contents: struct.unpack_from(">II", contents, 16),
    b"BM": _bmp,
    b"GIF8": lambda contents: struct.unpack_from("<HH", contents, 6),
    b"RIFF": _webp,
}
