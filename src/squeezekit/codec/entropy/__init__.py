"""Entropy coders and their models: bits, Huffman, rANS, frequency tables, contexts. Knows only streams of symbols."""

from squeezekit.codec.entropy.coders import CODERS, DEFAULT_CODER, Coder, coders_named

__all__ = ["CODERS", "DEFAULT_CODER", "Coder", "coders_named"]
