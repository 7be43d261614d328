"""Datasets before training: known ones, downloads, unpacking, audits, quarantine, drawn shapes."""

from squeezekit.curate.audit import Audit, audit_folder
from squeezekit.curate.audit_page import render_audit
from squeezekit.curate.catalogue import CATALOGUE, Entry, fetch, is_fetched
from squeezekit.curate.quarantine import finish_moves, make_moves, plan_moves, quarantine_folder, undo_moves
from squeezekit.curate.shapes import SHAPE_CLASSES, write_shapes
from squeezekit.curate.unpack import unpack_images

__all__ = [
    "CATALOGUE",
    "SHAPE_CLASSES",
    "Audit",
    "Entry",
    "audit_folder",
    "fetch",
    "finish_moves",
    "is_fetched",
    "make_moves",
    "plan_moves",
    "quarantine_folder",
    "render_audit",
    "undo_moves",
    "unpack_images",
    "write_shapes",
]
