"""The skeleton of a `.sqz`, in plain Python, written from docs/format.md alone; see test_codec_reference.py."""

import base64
import lzma
import re
import struct
import zlib
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text("utf-8")
DICTIONARY = base64.b64decode(PAGE.split("```")[-2])
SIZES = {0: 4, 1: 2, 2: 4, 4: 8, 7: 2, 8: 8, 10: 8, 11: 8, 12: 8, 15: 4, 16: 2, 18: 2}


class Source:
    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, size):
        self.at += size
        assert self.at <= len(self.data)
        return self.data[self.at - size : self.at]

    def rest(self):
        return self.take(len(self.data) - self.at)

    def varint(self):
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def wide(self, count):
        return [self.varint() for _ in range(count)]


def unzigzag(value):
    return value // 2 if value % 2 == 0 else -(value + 1) // 2


def blob(data, size):
    method, body = data[0], data[1:]
    if method == 0:
        return body
    if method == 1:
        inflate = zlib.decompressobj(-15, DICTIONARY)
        return inflate.decompress(body) + inflate.flush()
    rest, lc = divmod(body[0], 9)
    pb, lp = divmod(rest, 5)
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20, "lc": lc, "lp": lp, "pb": pb}]
    out = lzma.decompress(body[1:], lzma.FORMAT_RAW, filters=filters)
    assert len(out) == size
    return out


def read_links():
    """The page's table: link -> (owner, type of options, field), what it leads to."""
    links, elements = {}, {}
    for number, start, target in re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \|$", PAGE, re.M):
        options = re.fullmatch(r"options of type (\d+), field (\d+)", start)
        field = re.fullmatch(r"(.*), field (\d+)", start)
        if options:
            links["options", int(options[1]), int(options[2])] = int(number), target
        elif field:
            links[field[1], None, int(field[2])] = int(number), target
        elif start == "an element":
            elements[f"vector of {target}s"] = int(number), target
        else:
            links[start] = int(number), target
    return links, elements


LINKS, ELEMENTS = read_links()
TARGETS = {number: target for table in (LINKS, ELEMENTS) for number, target in table.values()}
assert sorted(TARGETS) == list(range(44))
ITEMS = {"int32s": 4, "float32s": 4, "int64s": 8, "bytes": 1, "data": 1}


class Traversal:
    def __init__(self, size, streams, texts):
        self.file, self.streams, self.texts = bytearray(size), list(map(iter, streams)), iter(texts)
        self.cursor, self.last = 8, None
        self.waiting = [(0, 0, 0)]  # link, place, type of options
        self.vtables, self.latest = [], {}
        self.kinds, self.vectors, self.blocks, self.data, self.gaps = {}, {}, [], [], []
        for turn in self.streams[0]:
            again = turn == 1
            if again:
                turn = next(self.streams[0])
            at = len(self.waiting) - 1
            if turn > 1:
                mine = [index for index, (link, *_) in enumerate(self.waiting) if link == turn - 2]
                rank = next(self.streams[1])
                at = mine[rank // 2 if rank % 2 else -1 - rank // 2]
            link, place, kind = self.waiting.pop(at)
            if not again:
                self.object(link, kind)
            self.put(place, self.last - place)
        assert all(next(stream, None) is None for stream in (*self.streams, self.texts))
        if self.cursor < size:
            self.gaps.append((self.cursor, size))

    def put(self, place, value):
        struct.pack_into("<i", self.file, place, value)

    def object(self, link, kind):
        target = TARGETS[link]
        if target == "string":
            text = next(self.texts)
            self.begin(0, 5 + len(text))
            self.put(self.last, len(text))
            self.file[self.last + 4 : self.last + 4 + len(text)] = text
        elif target in ITEMS or target in ELEMENTS:
            count = next(self.streams[4 if target == "data" else 3])
            size = count * ITEMS.get(target, 4)
            self.begin(0, 4 + size)
            self.put(self.last, count)
            first = self.last + 4
            if target in ELEMENTS:
                self.waiting += [(ELEMENTS[target][0], first + 4 * index, 0) for index in range(count)]
            elif count and target in ("bytes", "data"):
                (self.data if target == "data" else self.blocks).append((first, first + size))
            elif count:
                self.vectors.setdefault((link, count), []).append(first)
        else:
            self.table(link, target, kind)

    def begin(self, front, size):
        gap = next(self.streams[5])
        shift = unzigzag(gap // 2)
        start = -(-(self.cursor + front) // 4) * 4 + (shift if gap % 2 else 4 * shift)
        assert start - front >= self.cursor
        assert start + size <= len(self.file)
        if start - front > self.cursor:
            self.gaps.append((self.cursor, start - front))
        self.last, self.cursor = start, start + size

    def table(self, link, target, kind):
        choice, home = divmod(next(self.streams[2]), 2)
        if choice == 0:
            index = self.latest[link, kind]
        elif choice == 1:
            index = len(self.vtables)
            words = [next(self.streams[7]) for _ in range(next(self.streams[7]))]
            self.vtables.append({"words": words, "place": None, "tables": []})
        else:
            index = len(self.vtables) + 1 - choice
        self.latest[link, kind] = index
        vtable = self.vtables[index]
        words = vtable["words"]
        raw = struct.pack(f"<{1 + len(words)}H", 2 + 2 * len(words), *words)
        self.begin(len(raw) if home else 0, words[0])
        vtable["tables"].append(self.last)
        if home:
            assert vtable["place"] is None
            vtable["place"] = self.last - len(raw)
            self.file[self.last - len(raw) : self.last] = raw
        if vtable["place"] is not None:
            for table in vtable["tables"]:
                self.put(table, table - vtable["place"])
        parts, links, types = self.fields(target, kind, words)
        self.kinds.setdefault((target, kind, index), (parts, []))[1].append(self.last)
        found = {}
        for field, place in types:
            found[field] = self.file[self.last + place] = next(self.streams[6])
        for field, place, number in sorted(links):
            own = found.get({4: 3, 12: 11}.get(field), 0) if target == "operator" else 0
            self.waiting.append((number, self.last + place, own))

    @staticmethod
    def fields(target, kind, words):
        used = sorted((place, field) for field, place in enumerate(words[1:]) if place)
        if not used or used[0][0] > 4:
            used.insert(0, (4, -1))
        ends = [place for place, _ in used[1:]] + [words[0]]
        parts, links, types = [], [], []
        for (place, field), end in zip(used, ends, strict=True):
            link = LINKS.get((target, kind if target == "options" else None, field))
            if link and end - place >= 4:
                links.append((field, place, link[0]))
                place, field = place + 4, -1
            elif target == "operator" and field in (3, 11):
                types.append((field, place))
                place += 1
            part = 0
            while place < end:
                width = next(width for width in (8, 4, 2, 1) if width <= end - place)
                parts.append(((target, kind, field, part, width), place))
                place, part = place + width, part + 1
        return parts, links, types


def columns(walk):
    found = {}
    for parts, tables in walk.kinds.values():
        for key, place in parts:
            found.setdefault(key, []).extend(table + place for table in tables)
    return {key: sorted(places) for key, places in found.items()}


def fill_numbers(walk, numbers):
    for (*_, width), places in columns(walk).items():
        before = 0
        for place in places:
            value = next(numbers)
            if width >= 4:
                value = unzigzag(value)
            if width == 4:
                value = before = value + before
            walk.file[place : place + width] = (value % 256**width).to_bytes(width, "little")
    for (link, count), starts in walk.vectors.items():
        width = ITEMS[TARGETS[link]]
        if TARGETS[link] != "float32s":
            for element in range(count):
                before = 0
                for start in starts:
                    value = unzigzag(next(numbers))
                    if width == 4:
                        value = before = value + before
                    place = start + width * element
                    walk.file[place : place + width] = (value % 256**width).to_bytes(width, "little")


def carve(gaps, spans):
    """Spans that lie in gaps, and the gaps without them."""
    found = []
    for start, stop in sorted(spans):
        for index, (first, last) in enumerate(gaps):
            if first <= start and stop <= last:
                gaps[index : index + 1] = [
                    span for span in ((first, start), (stop, last)) if span[0] < span[1]
                ]
                found.append((start, stop))
                break
    return found


class Model:
    """TFLite's schema, as far as it matters here."""

    def __init__(self, file):
        self.file = bytes(file)

    def number(self, at, code="<I"):
        return struct.unpack_from(code, self.file, at)[0]

    def field(self, table, index):
        vtable = table - self.number(table, "<i")
        place = self.number(vtable + 4 + 2 * index, "<H") if 6 + 2 * index <= self.number(vtable, "<H") else 0
        return table + place if place else None

    def scalar(self, table, index, code):
        at = self.field(table, index)
        return 0 if at is None else self.number(at, code)

    def vector(self, table, index):
        at = self.field(table, index)
        return (0, 0) if at is None else (at + self.number(at) + 4, self.number(at + self.number(at)))

    def tables(self, table, index):
        start, count = self.vector(table, index)
        return [at + self.number(at) for at in range(start, start + 4 * count, 4)]

    def subgraphs(self):
        return self.tables(self.number(0), 2)

    def owners(self):
        """(start, stop) of tensors' contents: bytes of an element."""
        found, buffers = {}, self.tables(self.number(0), 4)
        for subgraph in self.subgraphs():
            for tensor in self.tables(subgraph, 0):
                buffer = buffers[self.scalar(tensor, 2, "<I")]
                start, size = self.vector(buffer, 0)
                if not size:
                    start, size = self.scalar(buffer, 1, "<Q"), self.scalar(buffer, 2, "<Q")
                item = SIZES.get(self.scalar(tensor, 1, "<b"), 1)
                if size and start > 1:
                    found.setdefault((start, start + size), 1 if size % item else item)
        return found

    def products(self, vectors):
        listed = {}
        for subgraph in self.subgraphs():
            tensors = self.tables(subgraph, 0)
            for operator in self.tables(subgraph, 3):
                start, count = self.vector(operator, 1)
                inputs = [self.number(start + 4 * index) for index in range(count)]
                if count == 3 and max(inputs) < len(tensors):
                    image, weight, bias = (self.scales(tensors[index]) for index in inputs)
                    if image[1] and weight[1] == bias[1] > 0 and {image, weight, bias} <= vectors:
                        listed.setdefault(bias[0], (bias, image, weight))
        return [
            listed[start]
            for start in sorted(listed)
            if not {listed[start][1][0], listed[start][2][0]} & set(listed)
        ]

    def scales(self, tensor):
        at = self.field(tensor, 4)
        return (0, 0) if at is None else self.vector(at + self.number(at), 2)


def skeleton(section, size, float_payload):
    """The file without contents; (start, bytes, bytes of an element) of contents; the small bytes."""
    source = Source(section)
    length = source.varint()
    numbers = Source(blob(source.take(source.varint()), length))
    length = source.varint()
    rest = Source(blob(source.take(source.varint()), length))
    counts = numbers.wide(9)
    streams = [numbers.wide(count) for count in counts[:7]] + [rest.wide(counts[7])]
    text = b"".join(rest.take(rest.data.index(0, rest.at) + 1 - rest.at) for _ in range(counts[8]))
    digits, last, plain = rest.take(text.count(b"0")), {}, bytearray(text)
    for place, digit in zip((at for at, letter in enumerate(text) if letter == 48), digits, strict=True):
        context = text[max(0, place - 4) : place]
        last[context] = (last.get(context, 0) + digit) % 10
        plain[place] += last[context]
    walk = Traversal(size, streams, bytes(plain).split(b"\0")[:-1])
    left = _all(numbers)
    fill_numbers(walk, left)
    detached = [vtable for vtable in walk.vtables if vtable["place"] is None]
    for place in sorted(place for _, place, _ in walk.waiting) + [vtable["tables"][0] for vtable in detached]:
        walk.file[place : place + 4] = rest.take(4)
    spans = {}
    for vtable in detached:
        first = vtable["tables"][0]
        place = first - struct.unpack_from("<i", walk.file, first)[0]
        for table in vtable["tables"]:
            walk.put(table, table - place)
        words = vtable["words"]
        raw = struct.pack(f"<{1 + len(words)}H", 2 + 2 * len(words), *words)
        spans.setdefault((place, place + len(raw)), raw)
    for start, stop in carve(walk.gaps, spans):
        walk.file[start:stop] = spans[start, stop]
    for start, stop in walk.blocks:
        walk.file[start:stop] = rest.take(stop - start)
    walk.file[4:8] = b"TFL3"
    model = Model(walk.file)
    owners = model.owners()
    places = walk.data + carve(walk.gaps, set(owners) - set(walk.data))
    contents = [(start, stop - start, owners.get((start, stop), 1)) for start, stop in sorted(places)]
    floats = {
        (start, count)
        for (link, count), starts in walk.vectors.items()
        if TARGETS[link] == "float32s"
        for start in starts
    }
    products = [entry for entry in model.products(floats) if next(left) == 0]
    assert next(left, None) is None
    stored = sorted(floats - {bias for bias, _, _ in products})
    values = iter(float_payload(source.rest(), sum(count for _, count in stored)))
    for start, count in stored:
        for at in range(start, start + 4 * count, 4):
            struct.pack_into("<I", walk.file, at, next(values))
    for (start, count), (image, _), (weight, _) in products:
        (factor,) = struct.unpack_from("<f", walk.file, image)
        for index in range(count):
            (other,) = struct.unpack_from("<f", walk.file, weight + 4 * index)
            struct.pack_into("<f", walk.file, start + 4 * index, factor * other)
    for start, stop in walk.gaps:
        walk.file[start:stop] = rest.take(stop - start)
    return walk.file, contents, Source(rest.rest())


def _all(source):
    while source.at < len(source.data):
        yield source.varint()
