"""Damage to files of known kinds: some of it blind, some that knows the format and so gets past its first check."""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

INTERESTING = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
OUTSIDE = (
    "../outside/secret.png",
    "../../outside/secret.png",
    "a/../../../outside/secret.png",
    "/etc/passwd",
    "/dev/zero",
    "/proc/self/environ",
    "C:\\secret.png",
    "C:secret.png",
    "\\\\host\\share\\secret.png",
    "//host/share/secret.png",
    "..\\..\\outside\\secret.png",
    "..",
    ".",
    "/",
    "~/secret.png",
    "file:///etc/passwd",
    "https://localhost/x.png",
)
ODD_TEXTS = (
    "", " ", "\n", "\t", "a\0b", "\x1b[31mred", "\x1b]0;title\x07", "\u202egnp.exe", "\ud800", "\udcff", "\ufeff", "é",
    "e\u0301", "絨毯", "😀", "x" * 300, "x" * 70_000, "a/b", "a\\b", "con", "nul.png", "<script>alert(1)</script>",
    "'\"><img src=x>", "{{7*7}}", "{0}", "{category:>99999999}", "%s%n", "[red]x[/red]", "=1+1", "-1", "1e999", "NaN",
    "null", "true", "00", "0x10", "1_000", "\uff11",
    "a" + "\u0301" * 40, "*" * 20, "[" * 40, "[!a-", "(a+)+$",
)  # fmt: skip
ODD_NUMBERS = (
    0, 1, -1, 2, 255, 256, 2**15, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63),
    10**30, 0.5, -0.0, 1e-320, 1e-9, 1e8, 1e17, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), True, False,
)  # fmt: skip
TOKENS = re.compile(r'-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|"(?:[^"\\]|\\.)*"|\w+|[\[\]{}:,.=#-]')

Mutation = Callable[[Random, bytes], bytes]


def damaged(random: Random, data: bytes, suffix: str) -> bytes:
    """The file's content, damaged in one to three ways that its suffix suggests, now and then in blind ones."""
    kinds = BY_SUFFIX.get(suffix.lower(), (blind,))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice((*kinds, blind) if random.random() < 0.2 else kinds)(random, data)
    return data


# --- bytes -----------------------------------------------------------------------------------------------------------


def blind(random: Random, data: bytes) -> bytes:
    """A few bytes changed, moved, taken away or added."""
    content = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        at = random.randrange(len(content) + 1)
        length = random.choice((1, 2, 4, 8, 64, 512))
        kind = random.randrange(8)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            content[at : at + 1] = bytes([random.choice(INTERESTING[:10]) & 255])
        elif kind == 2:
            order = random.choice("<>")
            content[at : at + 4] = struct.pack(f"{order}I", random.choice(INTERESTING))
        elif kind == 3:
            content[at : at + 2] = struct.pack(f"{random.choice('<>')}H", random.choice(INTERESTING) & 65535)
        elif kind == 4:
            del content[at : at + length]
        elif kind == 5:
            content[at:at] = content[random.randrange(len(content) + 1) :][:length]
        elif kind == 6:
            content[at:at] = random.randbytes(length)
        elif random.random() < 0.3:
            del content[at:]
    return bytes(content)


# --- images ----------------------------------------------------------------------------------------------------------

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MORE_CHUNKS = (
    (b"PLTE", b"\0\0\0\xff\xff\xff"), (b"tRNS", b"\0\0"), (b"gAMA", b"\0\0\0\0"), (b"cHRM", b"\0" * 32),
    (b"sRGB", b"\x09"), (b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 100_000)), (b"tEXt", b"\xff" * 90),
    (b"zTXt", b"x\0\0" + zlib.compress(b"a" * 1_000_000)), (b"eXIf", b"MM\0*\0\0\0\x08\xff\xff"),
    (b"iTXt", b"x\0\1\0\0\0" + zlib.compress(b"a" * 1_000_000)), (b"pHYs", b"\xff" * 9), (b"IEND", b""), (b"IDAT", b""),
    (b"acTL", b"\xff\xff\xff\xff\0\0\0\0"), (b"fcTL", b"\0" * 26), (b"fdAT", b"\0\0\0\1x"), (b"abCD", b""),
    (b"\0\0\0\0", b""), (b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"),
)  # fmt: skip


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """(type, content) of the chunks of a PNG, as far as they are whole."""
    found, at = [], len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            break
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG with right checksums."""
    parts = [PNG_SIGNATURE]
    for kind, content in chunks:
        parts += [struct.pack(">I", len(content)), kind, content, struct.pack(">I", zlib.crc32(kind + content))]
    return b"".join(parts)


def png(random: Random, data: bytes) -> bytes:
    """Chunks with wrong content and right checksums."""
    chunks = chunks_of(data)
    if not chunks:
        return blind(random, data)
    at = random.randrange(len(chunks))
    kind, content = chunks[at]
    what = random.randrange(7)
    if what == 0 and chunks[0][0] == b"IHDR" and len(chunks[0][1]) == 13:
        header = list(struct.unpack(">IIBBBBB", chunks[0][1]))
        field = random.randrange(7)
        small = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 255)
        header[field] = random.choice((*INTERESTING, 12_000, 30_000)) if field < 2 else random.choice(small)
        chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *header))
    elif what == 1:
        del chunks[at]
    elif what == 2:
        chunks.insert(random.randrange(len(chunks) + 1), chunks[at])
    elif what == 3:
        chunks.insert(random.randrange(len(chunks) + 1), random.choice(MORE_CHUNKS))
    elif what == 4 and kind == b"IDAT":
        try:
            pixels = zlib.decompress(content)
        except zlib.error:
            pixels = content
        pixels = random.choice((blind(random, pixels), pixels * 3, b"\0" * 1_000_000, bytes([7]) + pixels[1:], b""))
        chunks[at] = (kind, zlib.compress(pixels))
    else:
        chunks[at] = (kind, blind(random, content))
    return png_of(chunks)


def tiff(random: Random, data: bytes) -> bytes:
    """Entries of the first directory with another tag, type, count or value."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        return blind(random, data)
    (start,) = struct.unpack(f"{order}I", data[4:8])
    if start + 2 > len(data):
        return blind(random, data)
    (count,) = struct.unpack(f"{order}H", data[start : start + 2])
    at = start + 2 + 12 * random.randrange(max(1, min(count, 60)))
    content = bytearray(data)
    field = random.randrange(4)
    if field < 2:
        value = random.choice(
            (0, 1, 2, 3, 4, 5, 12, 16, 256, 257, 258, 259, 262, 273, 277, 279, 284, 317, 322, 339, 65535)
        )
        content[at + 2 * field : at + 2 * field + 2] = struct.pack(f"{order}H", value)
    else:
        place = at + 4 * (field - 1)
        content[place : place + 4] = struct.pack(f"{order}I", random.choice(INTERESTING))
    return bytes(content)


# --- text ------------------------------------------------------------------------------------------------------------


def odd_value(random: Random, depth: int = 0) -> Any:
    """A value that JSON can hold where nobody expects it; floats may be none that JSON knows."""
    kind = random.randrange(9)
    if kind < 3:
        return random.choice(ODD_NUMBERS)
    if kind < 5:
        return random.choice(ODD_TEXTS)
    if kind == 5:
        return random.choice(OUTSIDE)
    if kind == 6 and depth < 2:
        return [odd_value(random, depth + 1) for _ in range(random.choice((0, 1, 2, 3, 5, 6, 40)))]
    if kind == 7 and depth < 2:
        return {random.choice(("size", "counts", "id", "a", "")): odd_value(random, depth + 1) for _ in range(2)}
    return None


def places_in(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) of a JSON document; of long lists the first."""
    if isinstance(document, dict | list):
        items = document.items() if isinstance(document, dict) else enumerate(document[:40])
        for key, value in items:
            yield document, key
            yield from places_in(value)


def json_values(random: Random, data: bytes) -> bytes:
    """Values of other types, keys gone or renamed, records repeated, values swapped."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return tokens(random, data)
    for _ in range(random.choice((1, 1, 2, 4))):
        places = list(places_in(document))
        if not places:
            document = odd_value(random)
            continue
        container, key = random.choice(places)
        kind = random.randrange(8)
        if kind < 4:
            container[key] = odd_value(random)
        elif kind == 4:
            del container[key]
        elif kind == 5 and isinstance(container, list):
            container[key:key] = [container[key]] * random.choice((1, 2, 300))
        elif kind == 6 and isinstance(container, dict):
            container[random.choice((*ODD_TEXTS[:20], "extra"))] = container.pop(key)
        else:
            other, place = random.choice(places)
            try:
                container[key] = json.loads(json.dumps(other[place]))
            except (IndexError, KeyError, ValueError):
                container[key] = random.choice(ODD_NUMBERS)
    return json.dumps(document, indent=random.choice((None, 1)), ensure_ascii=random.random() < 0.8).encode(
        "utf-8", "surrogatepass"
    )


def tokens(random: Random, data: bytes) -> bytes:
    """Words, numbers and signs replaced, repeated or gone; lines stay as they are laid out."""
    text = data.decode("utf-8", "replace")
    found = list(TOKENS.finditer(text))
    if not found:
        return blind(random, data)
    for match in sorted(random.sample(found, min(len(found), random.choice((1, 1, 2, 3)))), key=lambda m: -m.start()):
        token = match[0]
        kind = random.randrange(6)
        if kind < 3:
            odd = odd_value(random)
            bare = isinstance(odd, str) and random.random() < 0.5
            new = odd if bare else json.dumps(odd, ensure_ascii=False)
        else:
            new = ("", token * random.choice((2, 9)), random.choice(found)[0])[kind - 3]
        text = text[: match.start()] + new + text[match.end() :]
    return text.encode("utf-8", "surrogatepass")


def lines(random: Random, data: bytes) -> bytes:
    """Lines gone, repeated, moved or odd, other line ends, another encoding."""
    text = data.decode("utf-8", "replace")
    kind = random.randrange(9)
    if kind < 5:
        rows = text.split("\n")
        at = random.randrange(len(rows))
        if kind == 0:
            del rows[at]
        elif kind == 1:
            rows[at:at] = [rows[at]] * random.choice((1, 2, 500))
        elif kind == 2:
            other = random.randrange(len(rows))
            rows[at], rows[other] = rows[other], rows[at]
        elif kind == 3:
            rows.insert(at, random.choice((*ODD_TEXTS, *OUTSIDE)))
        else:
            rows[at] += random.choice((" ", ",", ", ", "\t", ";")) + str(odd_value(random))
        return "\n".join(rows).encode("utf-8", "surrogatepass")
    if kind == 5:
        return text.replace("\n", random.choice(("\r", "\r\n", "\x0b", "\x85", "\u2028", ""))).encode()
    if kind == 6:
        return text.encode(random.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-32", "utf-7")))
    if kind == 7:
        return data + data
    return data[: random.randrange(len(data) + 1)]


YAML_PIECES = (
    "a: &a [x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nnames: [*b, *b, *b, *b, *b, *b, *b, *b]\n", "names: &n [*n]\n",
    "<<: {train: x}\n", "names: " + "[" * 900 + "\n", "nc: 1e3\n", "names: !!python/object/apply:os.system [x]\n",
    "train: !!binary aGk=\n", "names: {no: a, on: b}\n", "names: !!set {a, b}\n", "%YAML 9.9\n", "---\n---\n",
    "? [a, b]\n: c\n", "names: 2024-99-99\n", "nc: 0o99\n", "nc: 190:20:30\n", "nc: .inf\n", "path: ..\n",
    "names: [a, 1, 1.5, null, true, ~]\n", "nc: 99999999999\n", "val: [images/val, images/val]\n",
    "names: {18446744073709551616: a}\n", "names: {-1: a, 0: b}\n",
)  # fmt: skip


def yaml(random: Random, data: bytes) -> bytes:
    """A line or two that YAML can read in more than one way."""
    rows = data.split(b"\n")
    rows.insert(random.randrange(len(rows) + 1), random.choice(YAML_PIECES).encode())
    return b"\n".join(rows)


XML_PIECES = (
    '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>', '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
    '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>', "&b;", "&#0;", "&#xD800;", "<![CDATA[x]]>", "<!-- -->",
    "<object/>", "<a>" * 3000, "<a>" * 300 + "</a>" * 300, '<?xml version="1.1" encoding="utf-16"?>', "</object>",
    "<bndbox><xmin>1</xmin></bndbox>", "<xmin>nan</xmin>", "<name>\u202e</name>", "]]>", "<?php ?>",
)  # fmt: skip


def xml(random: Random, data: bytes) -> bytes:
    """Something between two tags that not every parser bears."""
    places = [match.start() for match in re.finditer(rb"<|$", data)]
    at = random.choice((0, random.choice(places)))
    return data[:at] + random.choice(XML_PIECES).encode() + data[at:]


def npy(random: Random, data: bytes) -> bytes:
    """A header that says something else, of the same length or of another."""
    length = int.from_bytes(data[8:10], "little")
    header, body = data[10 : 10 + length], data[10 + length :]
    changed = tokens(random, header) if random.random() < 0.8 else blind(random, header)
    if random.random() < 0.7:
        changed = changed[:length].ljust(length)
    return data[:8] + (len(changed) & 65535).to_bytes(2, "little") + changed + body


# --- archives --------------------------------------------------------------------------------------------------------


def tar_headers(random: Random, data: bytes) -> bytes:
    """Fields of a tar's headers changed, their checksums right."""
    content = bytearray(data)
    at = 512 * random.randrange(max(1, len(content) // 512))
    header = content[at : at + 512]
    if len(header) < 512 or header[257:262] != b"ustar":
        return blind(random, data)
    kind = random.randrange(5)
    if kind == 0:
        name = random.choice((*OUTSIDE, *ODD_TEXTS[:26])).encode("utf-8", "surrogatepass")[:100]
        header[0:100] = name.ljust(100, b"\0")
    elif kind == 1:
        header[156:157] = random.choice(
            (b"0", b"1", b"2", b"3", b"5", b"6", b"x", b"g", b"L", b"K", b"S", b"\0", b"\xff")
        )
    elif kind == 2:
        sizes = (
            b"00000000000\0",
            b"77777777777\0",
            b"-0000000001\0",
            b"\x80" + b"\xff" * 11,
            b"\xff" * 12,
            b"00000000777\0",
        )
        header[124:136] = random.choice(sizes)
    elif kind == 3:
        header[157:257] = random.choice(OUTSIDE).encode()[:100].ljust(100, b"\0")
    else:
        field = random.randrange(500)
        header[field : field + 4] = random.randbytes(4)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % (sum(header) & 0o777777)
    content[at : at + 512] = header
    return bytes(content)


def zip_names(random: Random, data: bytes) -> bytes:
    """Another name of the same length for a member, in one of its places or in both."""
    import zipfile

    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except Exception:
        return blind(random, data)
    if not names:
        return blind(random, data)
    name = random.choice(names).encode()
    other = random.choice((*OUTSIDE, *ODD_TEXTS[:20], *names)).encode("utf-8", "surrogatepass")
    other = other[: len(name)].ljust(len(name), b"x")
    return data.replace(name, other, random.choice((1, 2)))


def packed(pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes]) -> Mutation:
    """Damage to what is packed, packed anew."""

    def mutation(random: Random, data: bytes) -> bytes:
        try:
            content = unpack(data)
        except Exception:
            return blind(random, data)
        return pack(tar_headers(random, content))

    return mutation


BY_SUFFIX: dict[str, tuple[Mutation, ...]] = {}


def _register() -> None:
    import bz2
    import gzip
    import lzma

    BY_SUFFIX.update(
        {
            ".png": (png, png, png, blind),
            ".tif": (tiff, tiff, blind),
            ".tiff": (tiff, tiff, blind),
            ".json": (json_values, json_values, tokens, tokens, lines),
            ".yaml": (yaml, tokens, lines),
            ".toml": (tokens, tokens, lines),
            ".csv": (tokens, lines),
            ".txt": (tokens, tokens, lines),
            ".xml": (xml, tokens, tokens, lines),
            ".npy": (npy, blind),
            ".tar": (tar_headers, tar_headers, blind),
            ".tgz": (packed(lambda data: gzip.compress(data, 1, mtime=0), gzip.decompress), blind),
            ".txz": (packed(lambda data: lzma.compress(data, preset=0), lzma.decompress), blind),
            ".tbz": (packed(lambda data: bz2.compress(data, 1), bz2.decompress), blind),
            ".zip": (zip_names, blind),
        }
    )


_register()
