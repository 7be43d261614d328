import fuzz_codec
import pytest


@pytest.mark.parametrize("name", sorted(path.name for path in fuzz_codec.CORPUS.iterdir()))
def test_what_the_fuzzer_found_does_no_harm(name):
    fuzz_codec.fuzz_one_input((fuzz_codec.CORPUS / name).read_bytes())


@pytest.mark.parametrize("name", sorted(fuzz_codec.seeds()))
def test_seeds_are_valid_and_their_damage_does_no_harm(name):
    seed = fuzz_codec.seeds()[name]
    fuzz_codec._TARGETS[seed[0]](seed[1:])
    for at in range(1, min(len(seed), 600), 7):
        fuzz_codec.fuzz_one_input(seed[:at])
        fuzz_codec.fuzz_one_input(seed[:at] + bytes([seed[at] ^ 0x81]) + seed[at + 1 :])
