"""Streams of symbols, in plain Python, written from docs/format.md alone; see test_codec_reference.py."""

import itertools
import math

from reference_skeleton import Source, unzigzag


class Bits:
    def __init__(self, data):
        self.text = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def take(self, width):
        self.at += width
        return int(self.text[self.at - width : self.at] or "0", 2)


class Reader(Source):
    def numbers(self, count):
        if not count:
            return []
        (k,) = self.take(1)
        if k == 33:
            lengths = running(map(unzigzag, self.numbers(count)), 0)
            bits = Bits(self.data[self.at :])
            values = [1 << length - 1 | bits.take(length - 1) if length else 0 for length in lengths]
            self.take((bits.at + 7) // 8)
            return values
        if k == 32:
            return [0] * count
        bits, zeros = Bits(self.data[self.at :]), []
        for _ in range(count):
            zeros.append(bits.text.index("1", bits.at) - bits.at)
            bits.at += zeros[-1] + 1
        values = [(1 << (zero + k) | bits.take(zero + k)) - (1 << k) for zero in zeros]
        self.take((bits.at + 7) // 8)
        return values


def running(values, start, plus=0):
    out = []
    for value in values:
        start += value + plus
        out.append(start)
    return out


def stream(source, count, alphabet, last=False):
    (coder,) = source.take(1)
    width = (alphabet - 1).bit_length()
    if coder == 0:
        bits = Bits(source.take((count * width + 7) // 8))
        return [bits.take(width) for _ in range(count)]
    body = Reader(source.rest() if last else source.take(source.varint()))
    out = {1: huffman, 2: rans, 3: contexts}[coder](body, count, alphabet)
    assert not body.rest()
    assert all(symbol < alphabet for symbol in out)
    return out


def huffman(source, count, alphabet):
    used = source.varint()
    symbols = running(source.numbers(used), -1, 1)
    lengths = running(map(unzigzag, source.numbers(used)), 0)
    if used == 1:
        return symbols * count
    codes, code, before = {}, 0, 0
    for length, symbol in sorted(zip(lengths, symbols, strict=True)):
        code <<= length - before
        codes[f"{code:0{length}b}"] = symbol
        code, before = code + 1, length
    lanes = source.varint()
    sizes = [0]
    if lanes > 1:
        mean = source.varint()
        sizes = [unzigzag(value) + mean for value in source.numbers(lanes)]
    text, start, steps = Bits(source.rest()).text, 0, -(-count // lanes)
    out = [0] * (steps * lanes)
    for lane in range(lanes):
        at = start
        for step in range(steps):
            end = at + 1
            while text[at:end] not in codes:
                end += 1
            out[step * lanes + lane], at = codes[text[at:end]], end
        start += sizes[lane]
        assert lanes == 1 or at == start
    return out[:count]


def table(source):
    """Symbols, levels and precision."""
    used = source.varint()
    symbols = running(source.numbers(used), -1, 1)
    if used == 1:
        return symbols, [0], 10
    (head,) = source.take(1)
    precision, step, spacing = 10 + 2 * (head & 3), 16 >> (head >> 2 & 3), 1 << (head >> 4)
    knots = [*range(0, used - 1, spacing), used - 1]
    at_knots = [level * step for level in running(map(unzigzag, source.numbers(len(knots))), 0)]
    levels = [at_knots[0]]
    for left, right, low, high in zip(knots, knots[1:], at_knots, at_knots[1:], strict=False):
        levels += [low + (high - low) * (x - left) // (right - left) for x in range(left + 1, right + 1)]
    assert all(0 <= level <= 640 for level in levels)
    return symbols, levels, precision


def weight(level):
    root = 1 << 32 * 12 + level % 32
    for _ in range(5):
        root = math.isqrt(root)
    return root << level // 32


def frequencies(levels, precision):
    weights = [weight(level) for level in levels]
    slots, used = 1 << precision, len(levels)
    excess = running([max(0, one - (sum(weights) >> precision)) for one in weights], 0)
    if not excess[-1]:
        return [slots - used + 1] + [1] * (used - 1)
    ends = [0, *(running_sum * (slots - used) // excess[-1] for running_sum in excess)]
    return [1 + after - before for before, after in itertools.pairwise(ends)]


class Lanes:
    def __init__(self, source, symbols):
        count = source.varint()
        sizes = None
        if count > 1:
            mean = source.varint()
            sizes = [mean + unzigzag(value) for value in source.numbers(count)]
        words = [int.from_bytes(source.take(2), "little") for _ in range((len(source.data) - source.at) // 2)]
        sizes = [len(words)] if sizes is None else sizes
        self.words = [[] for _ in sizes]
        for turn in range(max(sizes)):
            for lane, size in enumerate(sizes):
                if turn < size:
                    self.words[lane].append(words.pop(0))
        self.states = []
        for lane in self.words:
            state = lane.pop(0) if lane else 0
            self.states.append(state << 16 | lane.pop(0) if lane else state)

    def phase(self, tables, precision):
        """One symbol for each (symbols, frequencies) given."""
        out = []
        for number, (symbols, shares) in enumerate(tables):
            lane = number % len(self.states)
            place = self.states[lane] % (1 << precision)
            start = index = 0
            while place >= start + shares[index]:
                start, index = start + shares[index], index + 1
            state = shares[index] * (self.states[lane] >> precision) + place - start
            if state < 1 << 16 and self.words[lane]:
                state = state << 16 | self.words[lane].pop(0)
            self.states[lane] = state
            out.append(symbols[index])
        return out

    def finish(self):
        assert all(state == 1 for state in self.states)
        assert not any(self.words)


def rans(source, count, alphabet):
    symbols, levels, precision = table(source)
    if len(symbols) == 1:
        return symbols * count
    lanes = Lanes(source, count)
    out = lanes.phase([(symbols, frequencies(levels, precision))] * count, precision)
    lanes.finish()
    return out


def diagonals(rows, positions, width, columns):
    """Phases as lists of (number, row, column, position)."""
    cells = [
        (row, place, column) for row in range(rows) for place in range(positions) for column in range(columns)
    ]
    phases = {}
    for number, (row, place, column) in enumerate(cells):
        if positions >= 4:
            phases.setdefault(sum(divmod(place, width)), []).append((place, row, column, number))
        else:
            wide = place * columns + column
            phases.setdefault((row + wide) % 8, []).append((0, row, wide, number))
    for phase in sorted(phases):
        order = sorted(phases[phase], key=lambda cell: cell if positions >= 4 else cell[3])
        yield [(number, row, column, place) for place, row, column, number in order]


def stage(source, grid, value, present, sized):
    rows, positions, width, columns = grid
    whole = positions >= 4

    def near(place):
        y, x = divmod(place, width)
        before = [other for other in range(positions) if sum(divmod(other, width)) < x + y] if whole else []
        return sorted(
            before, key=lambda other: ((other // width - y) ** 2 + (other % width - x) ** 2, other)
        )[:8]

    def small(count):
        return [unzigzag(number) for number in source.numbers(count)]

    symbols, levels, precision = table(source)
    typical = sum(f * abs(value(s)) for f, s in zip(frequencies(levels, precision), symbols, strict=True))
    typical = max(1, 16 * typical >> precision)
    (kinds,) = source.take(1)
    sizes, means = kinds & 15, kinds >> 4
    coefficients, mean_cuts, size_coefficients, size_cuts, tilts = [], [], [], [], [(0, 0)]
    if sizes * means > 1:
        counts = [3 + len(near(place)) for place in range(positions if whole else 1)]
        every = small(sum(counts))
        for count in counts:
            coefficients.append(every[:count])
            every = every[count:]
        mean_cuts = running(small(means - 1), 0)
        if sizes > 1:
            size_coefficients = small(4 + whole + (whole and present is not None))
            size_cuts = running(small(sizes - 1), 0)
        tilts = list(zip(small(sizes * means), small(sizes * means), strict=True))
    values = [value(symbol) for symbol in symbols]
    largest = max(1, *map(abs, values))
    tables = []
    for alpha, beta in tilts:
        leaning = [
            level + 4 * (alpha * abs(one) + beta * one) // largest
            for level, one in zip(levels, values, strict=True)
        ]
        leaning = [max(0, level + 640 - max(leaning)) for level in leaning]
        tables.append((symbols, frequencies(leaning, 13)))
    lanes = Lanes(Reader(source.take(source.varint())) if sized else source, rows * positions * columns)

    known, row_seen, column_seen = {}, {}, {}
    for phase in diagonals(*grid):
        cells = [cell for cell in phase if present is None or present[cell[0]]]
        chosen = []
        for number, row, column, place in cells:
            if len(tables) == 1:
                chosen.append(tables[0])
                continue
            sums = [seen.get(line, (0, 0, 0)) for seen, line in ((row_seen, row), (column_seen, column))]
            around = [
                16 * value(known[at]) if (at := number + (other - place) * columns) in known else 0
                for other in near(place)
            ]
            features = [16 * total // (seen + 8) for seen, total, _ in sums] + [*around, 16]
            mean = sum(a * b for a, b in zip(coefficients[place], features, strict=True)) >> 5
            kind = sum(cut <= mean for cut in mean_cuts)
            if sizes > 1:
                features = [(16 * size + 8 * typical) // (seen + 8) for seen, _, size in sums] + [abs(mean)]
                if whole:
                    features.append(
                        (typical + sum(map(abs, around))) // (1 + sum(one != 0 for one in around))
                    )
                    if present is not None:
                        first = (number // columns // positions) * positions * columns + column
                        kept = sum(present[first + other * columns] for other in range(positions))
                        features.append(kept * typical // positions)
                size = sum(a * b for a, b in zip(size_coefficients, [*features, 16], strict=True)) >> 5
                kind += means * sum(cut <= size for cut in size_cuts)
            chosen.append(tables[kind])
        for (number, row, column, _), symbol in zip(cells, lanes.phase(chosen, 13), strict=True):
            known[number] = symbol
            for seen, line in ((row_seen, row), (column_seen, column)):
                count, total, size = seen.get(line, (0, 0, 0))
                seen[line] = count + 1, total + value(symbol), size + abs(value(symbol))
    lanes.finish()
    return known


def contexts(source, count, alphabet):
    positions, width, columns = source.varint(), source.varint(), source.varint()
    rows = count // (positions * columns)
    common, base = source.varint() - 1, source.varint()
    present = None
    if common >= 0:
        kernel = 4 <= positions <= 12
        group, stride = (positions, columns) if kernel else (8, 1)
        order = mask_order(group)
        known = stage(
            source, (rows, 1, 1, columns if kernel else positions * columns // 8),
            lambda symbol: order[symbol].bit_count(), None, True,
        )  # fmt: skip
        present = unfold([order[known[number]] for number in range(len(known))], group, stride)
    known = stage(source, (rows, positions, width, columns), lambda symbol: symbol - base, present, False)
    return [known.get(number, common) for number in range(count)]


def mask_order(group):
    return sorted(range(1 << group), key=lambda mask: (mask.bit_count(), mask))


def unfold(masks, group, stride):
    flags = [0] * (len(masks) * group)
    for number, mask in enumerate(masks):
        block, column = divmod(number, stride)
        for bit in range(group):
            flags[block * group * stride + bit * stride + column] = mask >> group - 1 - bit & 1
    return flags
