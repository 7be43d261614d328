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
    def __init__(self, source):
        count, mean = source.varint(), source.varint()
        sizes = [mean + unzigzag(value) for value in source.numbers(count)] if count > 1 else [mean]
        words = [max(0, size // 16 - 1) for size in sizes]
        bits = Bits(source.data[source.at :])
        widths = [size - 16 * count for size, count in zip(sizes, words, strict=True)]
        self.states = [1 << width | bits.take(width) for width in widths]
        source.take((bits.at + 7) // 8)
        self.words = [[] for _ in sizes]
        for turn in range(max(words)):
            for lane, count in enumerate(words):
                if turn < count:
                    self.words[lane].append(int.from_bytes(source.take(2), "little"))
        assert source.at == len(source.data)

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
    lanes = Lanes(source)
    out = lanes.phase([(symbols, frequencies(levels, precision))] * count, precision)
    lanes.finish()
    return out


def diagonals(rows, positions, width, columns):
    """Phases as lists of (number, position)."""
    phases = {}
    for place, row, column in itertools.product(range(positions), range(rows), range(columns)):
        number = (row * positions + place) * columns + column
        phases.setdefault(sum(divmod(place, width)), []).append((number, place))
    return [phases[phase] for phase in sorted(phases)]


def near(place, positions, width):
    y, x = divmod(place, width)
    before = [other for other in range(positions) if sum(divmod(other, width)) < x + y]
    return sorted(before, key=lambda other: ((other // width - y) ** 2 + (other % width - x) ** 2, other))[:6]


def contexts(source, count, alphabet):
    positions, width, columns, base = (source.varint() for _ in range(4))
    (sparse,) = source.take(1)
    rows, present = count // (positions * columns), [True] * count
    if sparse:
        group, stride = (positions, columns) if positions <= 12 else (8, 1)
        order = mask_order(group)
        masks = rans(Reader(source.take(source.varint())), count // group, 1 << group)
        present = unfold([order[mask] for mask in masks], group, stride)

    symbols, levels, precision = table(source)
    values = [symbol - base for symbol in symbols]
    typical = sum(f * abs(v) for f, v in zip(frequencies(levels, precision), values, strict=True))
    typical = max(1, 16 * typical >> precision)
    (kinds,) = source.take(1)
    sizes, means = kinds & 15, kinds >> 4

    def small(count):
        return [unzigzag(number) for number in source.numbers(count)]

    counts = [len(near(place, positions, width)) + 1 for place in range(positions)]
    every, coefficients = small(sum(counts)), []
    for count_here in counts:
        coefficients.append(every[:count_here])
        every = every[count_here:]
    size_coefficients = small(2 + sparse)
    mean_cuts, size_cuts = running(small(means - 1), 0), running(small(sizes - 1), 0)
    largest = max(1, *map(abs, values))
    tables = []
    for alpha, beta in zip(small(sizes * means), small(sizes * means), strict=True):
        leaning = [
            level + 4 * (alpha * abs(one) + beta * one) // largest
            for level, one in zip(levels, values, strict=True)
        ]
        leaning = [max(0, level + 640 - max(leaning)) for level in leaning]
        tables.append((symbols, frequencies(leaning, 12)))
    lanes, known = Lanes(source), {}
    for phase in diagonals(rows, positions, width, columns):
        cells = [cell for cell in phase if present[cell[0]]]
        chosen = []
        for number, place in cells:
            first = number - place * columns
            others = near(place, positions, width)
            around = [known.get(first + other * columns, base) - base for other in others]
            mean = sum(a * b for a, b in zip(coefficients[place], [*around, 1], strict=True))
            features = [abs(mean) >> 1, 2 * sum(map(abs, around))]
            if sparse:
                kept = sum(present[first + other * columns] for other in range(positions))
                features.append(kept * max(1, typical // positions))
            size = sum(a * b for a, b in zip(size_coefficients, features, strict=True))
            kind = means * sum(cut <= size for cut in size_cuts) + sum(cut <= mean for cut in mean_cuts)
            chosen.append(tables[kind])
        known.update(zip([number for number, _ in cells], lanes.phase(chosen, 12), strict=True))
    lanes.finish()
    return [known.get(number, base) for number in range(count)]


def mask_order(group):
    return sorted(range(1 << group), key=lambda mask: (mask.bit_count(), mask))


def unfold(masks, group, stride):
    flags = [0] * (len(masks) * group)
    for number, mask in enumerate(masks):
        block, column = divmod(number, stride)
        for bit in range(group):
            flags[block * group * stride + bit * stride + column] = mask >> group - 1 - bit & 1
    return flags
