"""Effects on tables whose effects are known, Shapley shares against all orders tried one by one, intervals by SciPy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from squeezekit.report import effects

LEVELS = {
    "network": ["plain", "separable"],
    "prune": ["", "prune(0.8)"],
    "share": ["", "share(bits=5)"],
    "quantize": ["", "quantize(bits=8)"],
    "coder": ["none", "huffman", "small"],
}
IMAGES, CLASSES = 400, 4
TRUTH = list(np.random.default_rng(1).integers(0, CLASSES, IMAGES))


def study(log_bytes, right=lambda factors: 0.9, seeds=(0,), grid=LEVELS):
    """Rows of a full grid: their bytes by a function of factors and seed, and a share of right images."""
    rows = []
    for seed in seeds:
        for levels in itertools.product(*grid.values()):
            factors = dict(zip(grid, levels, strict=True))
            good = round(right(factors) * IMAGES)
            predicted = [
                label if image < good else (label + 1) % CLASSES for image, label in enumerate(TRUTH)
            ]
            size = math.exp(log_bytes(factors, seed))
            rows.append(
                {
                    "id": f"{seed}-{'-'.join(levels)}",
                    "factors": factors,
                    "seed": seed,
                    "bytes": {"file": size},
                    "latency_ms": 2.0,
                    "predicted": predicted,
                    "top1": good / IMAGES,
                    "validation_top1": good / IMAGES,
                }
            )
    return rows


def known(factors, seed=0):
    """Additive, but for pruning and a coder, which help each other."""
    found = 15.0
    found -= 1.0 * (factors["network"] == "separable")
    found -= 0.2 * (factors["prune"] != "")
    found -= 1.5 * (factors["coder"] == "huffman") + 1.7 * (factors["coder"] == "small")
    found -= 0.8 * (factors["prune"] != "" and factors["coder"] != "none")
    return found


def by_level(found):
    return {tuple(level for _, level in effect.factors): effect.estimate for effect in found}


def test_main_effects_are_those_that_were_put_in():
    found = by_level(effects.main_effects(study(known), "bytes", TRUTH))
    expected = {
        ("separable",): -1.0,
        ("prune(0.8)",): -0.2 - 0.8 * 2 / 3,
        ("share(bits=5)",): 0.0,
        ("quantize(bits=8)",): 0.0,
        ("huffman",): -1.5 - 0.4,
        ("small",): -1.7 - 0.4,
    }
    assert {key: estimate.value for key, estimate in found.items()} == pytest.approx(expected, abs=1e-9)
    assert all(estimate.low is None and not estimate.source for estimate in found.values())


def test_interactions_are_those_that_were_put_in():
    found = by_level(effects.interactions(study(known), "bytes", TRUTH))
    assert found["prune(0.8)", "huffman"].value == pytest.approx(-0.8)
    assert found["prune(0.8)", "small"].value == pytest.approx(-0.8)
    others = [
        value.value for key, value in found.items() if "prune(0.8)" not in key or key[1] == "quantize(bits=8)"
    ]
    assert others == pytest.approx([0.0] * len(others), abs=1e-9)


@pytest.mark.parametrize("coder", ["huffman", "small"])
def test_shapley_is_the_mean_over_all_orders(coder):
    random = np.random.default_rng(3)
    noise = {levels: random.normal() for levels in itertools.product(*LEVELS.values())}

    def tangled(factors, seed=0):
        return known(factors) + noise[tuple(factors.values())]

    on = {
        "network": "separable",
        "prune": "prune(0.8)",
        "share": "share(bits=5)",
        "quantize": "quantize(bits=8)",
        "coder": coder,
    }
    off = {name: levels[0] for name, levels in LEVELS.items()}
    expected = dict.fromkeys(LEVELS, 0.0)
    orders = list(itertools.permutations(LEVELS))
    for order in orders:
        now = dict(off)
        for factor in order:
            before = tangled(now)
            now[factor] = on[factor]
            expected[factor] += (tangled(now) - before) / len(orders)
    found = effects.shapley(study(tangled), "bytes", TRUTH, levels={"coder": coder})
    assert {effect.factors[0][0]: effect.estimate.value for effect in found} == pytest.approx(expected)
    assert sum(effect.estimate.value for effect in found) == pytest.approx(tangled(on) - tangled(off))


def test_shapley_says_nothing_when_a_combination_is_missing():
    rows = [row for row in study(known) if row["id"] != "0-separable-prune(0.8)--quantize(bits=8)-none"]
    assert effects.shapley(rows, "bytes", TRUTH) == []


@pytest.mark.parametrize("seeds", range(2, 41))
def test_seeds_give_students_interval(seeds):
    """The effect of the network differs from seed to seed; SciPy has the interval of such a mean."""
    drawn = np.random.default_rng(seeds).normal(-1.0, 0.1, seeds)
    grid = {"network": LEVELS["network"], "coder": ["none", "huffman"]}

    def log_bytes(factors, seed):
        return 15.0 + drawn[seed] * (factors["network"] == "separable") - (factors["coder"] == "huffman")

    rows = study(log_bytes, seeds=range(seeds), grid=grid)
    found = by_level(effects.main_effects(rows, "bytes", TRUTH))
    expected = stats.ttest_1samp(drawn, 0).confidence_interval(0.95)
    network = found["separable",]
    assert (network.value, network.low, network.high) == pytest.approx((drawn.mean(), *expected), rel=1e-9)
    assert network.source == "seeds"
    # What every seed does alike is sure.
    coder = found["huffman",]
    assert (coder.low, coder.value, coder.high) == pytest.approx((-1.0, -1.0, -1.0), abs=1e-9)


def test_students_interval_of_three_seeds_is_that_of_the_tables():
    rows = study(lambda factors, seed: 9 - (1 + 0.1 * seed) * bool(factors["prune"]), seeds=(0, 1, 2))
    found = by_level(effects.main_effects(rows, "bytes", TRUTH))["prune(0.8)",]
    # -1.0, -1.1 and -1.2: mean -1.1, standard deviation 0.1, t of two degrees of freedom 4.303.
    half = 4.303 * 0.1 / math.sqrt(3)
    assert (found.value, found.low, found.high) == pytest.approx((-1.1, -1.1 - half, -1.1 + half), abs=1e-4)


def test_an_unfinished_seed_is_passed_over():
    whole = study(known, seeds=(0, 1))
    found = effects.main_effects(whole + study(known, seeds=(2,))[:5], "bytes", TRUTH)
    assert found == effects.main_effects(whole, "bytes", TRUTH)


def test_images_give_a_paired_interval():
    rows = study(known, lambda factors: 0.9 - 0.1 * (factors["prune"] != ""))
    found = by_level(effects.main_effects(rows, "top1", TRUTH))
    lost = found["prune(0.8)",]
    assert lost.value == pytest.approx(-0.1)
    # One image in ten was lost, none won: the binomial's standard error.
    error = math.sqrt(0.1 * 0.9 / IMAGES)
    assert lost.low == pytest.approx(-0.1 - 1.96 * error, abs=0.3 * error)
    assert lost.high == pytest.approx(-0.1 + 1.96 * error, abs=0.3 * error)
    assert lost.source == "images"
    # The same images right with it and without: paired, nothing is left of their spread.
    assert (found["small",].value, found["small",].low, found["small",].high) == (0.0, 0.0, 0.0)


def test_an_unknown_measure_is_refused():
    with pytest.raises(ValueError, match="Received: 'joules'"):
        effects.main_effects(study(known), "joules", TRUTH)


def test_pareto_keeps_what_nothing_beats():
    rows = [
        {"id": name, "bytes": {"file": size}, "top1": top1}
        for name, size, top1 in [
            ("a", 100, 0.7),
            ("b", 200, 0.7),
            ("c", 200, 0.8),
            ("d", 900, 0.79),
            ("e", 950, 0.9),
        ]
    ]
    assert effects.pareto(rows) == ["a", "c", "e"]


def test_the_smallest_file_is_chosen_by_validation():
    def row(size, validation, top1, **more):
        return {"bytes": {"file": size}, "validation_top1": validation, "top1": top1, **more}

    baseline = row(9000, 0.8, 0.6, baseline=True)
    good, lucky, poor = row(300, 0.795, 0.5), row(200, 0.75, 0.99), row(100, 0.6, 0.99)
    assert effects.smallest_within([baseline, good, lucky, poor], 0.01) is good
    assert effects.smallest_within([baseline, good, lucky, poor], 0.10) is lucky
    assert effects.smallest_within([baseline, poor], 0.10) is None
    assert effects.smallest_within([good], 0.01) is None


def test_classes_that_lose_come_first_with_an_interval():
    truth = [0] * 100 + [1] * 50
    full = {"predicted": truth}
    row = {"predicted": [1] * 20 + [0] * 80 + [1] * 50}
    worst, best = effects.class_changes(row, full, truth, 3)
    assert (worst.label, worst.change, worst.images) == (0, -0.2, 100)
    assert worst.low < -0.2 < worst.high < -0.1
    # Nothing changed, which 50 images cannot prove.
    assert (best.label, best.change) == (1, 0.0)
    assert best.low < 0 < best.high < 0.1


def test_flips_are_of_the_modal_label_and_the_surest_first():
    full = [{"predicted": [0, 1, 2, 0]}, {"predicted": [0, 1, 2, 1]}, {"predicted": [0, 1, 2, 0]}]
    squeezed = [{"predicted": [0, 2, 2, 1]}, {"predicted": [0, 2, 2, 1]}, {"predicted": [1, 1, 2, 1]}]
    assert effects.flips(squeezed, full) == [1, 3]


@pytest.mark.parametrize(
    "grid",
    [
        {"prune_channels": ["", "prune_channels(0.3)"], "separable": ["", "separable()"], "coder": ["small"]},
        {"melt": ["", "melt(0.5)", "melt(0.9)"], "prune": ["prune(0.8)"]},
        {"network": ["alexnet", "squeezenet-1.1", "mine"], "coder": ["none", "auto"]},
        {"prune": ["", "prune(0.8)"], "order": ["", "share | prune"]},
    ],
    ids=["channels and separable", "a technique of tomorrow", "networks and coders", "orders"],
)
@pytest.mark.parametrize("measure", ["bytes", "latency", "top1"])
def test_whatever_rows_vary_is_a_factor(grid, measure):
    rows = study(lambda factors, seed: 12.0 - 0.1 * len("".join(factors.values())), grid=grid)
    varied = {name: levels for name, levels in grid.items() if len(levels) > 1}
    main = effects.main_effects(rows, measure, TRUTH, grid)
    assert [effect.factors[0] for effect in main] == [
        (name, level) for name, levels in varied.items() for level in levels[1:]
    ]
    if measure == "bytes":
        for effect in main:
            ((factor, level),) = effect.factors
            assert effect.estimate.value == pytest.approx(-0.1 * (len(level) - len(grid[factor][0])))
    pairs = effects.interactions(rows, measure, TRUTH, grid)
    assert all(effect.estimate.value == pytest.approx(0, abs=1e-6) for effect in pairs)
    names = list(varied)
    assert len(pairs) == (math.prod(len(levels) - 1 for levels in varied.values()) if len(names) > 1 else 0)
    assert [effect.factors[0][0] for effect in effects.shapley(rows, measure, TRUTH, grid)] == names


def test_an_order_is_compared_where_there_is_one():
    """Orders exist only where two techniques meet, so some combinations are missing."""
    rows = []
    for place, (prune, share, order, log) in enumerate(
        [
            ("", "", "", 9),
            ("p", "", "", 8),
            ("", "s", "", 8.5),
            ("p", "s", "", 7),
            ("p", "s", "share | prune", 7.3),
        ]
    ):
        factors = {"prune": prune, "share": share, "order": order}
        rows.append({"id": str(place), "factors": factors, "seed": 0, "file_bytes": math.exp(log)})
    found = {effect.factors: effect for effect in effects.main_effects(rows, "bytes", TRUTH)}
    order = found[("order", "share | prune"),]
    assert (order.estimate.value, order.contexts) == (pytest.approx(0.3), 1)
    assert found[("prune", "p"),].estimate.value == pytest.approx((-1 - 1.5) / 2)
    assert [effect.factors for effect in effects.interactions(rows, "bytes", TRUTH)] == [
        (("prune", "p"), ("share", "s"))
    ]
    assert effects.shapley(rows, "bytes", TRUTH) == []


def test_the_grid_says_what_levels_are_compared_with():
    """Rows come in any order, and off is the reference wherever it stands."""
    grid = {"network": ["plain", "separable"], "prune": ["prune(0.8)", ""], "coder": ["huffman", "none"]}
    rows = study(known_log, grid=grid)[::-1]
    found = by_level(effects.main_effects(rows, "bytes", TRUTH, grid))
    assert set(found) == {("separable",), ("prune(0.8)",), ("huffman",)}
    assert found["separable",].value == pytest.approx(-1.0)


def known_log(factors, seed):
    return known({"share": "", "quantize": "", **factors}, seed)


def test_a_coder_that_is_not_studied_is_no_effect():
    rows = [row for row in study(known, seeds=(0, 1)) if row["factors"]["coder"] == "small"]
    shares = by_level(effects.shapley(rows, "bytes", TRUTH))
    assert {level: round(share.value, 6) for (level,), share in shares.items()} == {
        "separable": -1.0, "prune(0.8)": -1.0, "share(bits=5)": 0.0, "quantize(bits=8)": 0.0,
    }  # fmt: skip
    assert effects.main_effects(rows[:1], "bytes", TRUTH) == []


def test_baselines_are_no_part_of_effects():
    rows = study(known)
    alexnet = {**rows[0], "id": "alexnet", "factors": {}, "baseline": True, "bytes": {"file": 9e7}}
    for measure in ("bytes", "top1"):
        assert effects.main_effects([alexnet, *rows], measure, TRUTH) == effects.main_effects(
            rows, measure, TRUTH
        )
