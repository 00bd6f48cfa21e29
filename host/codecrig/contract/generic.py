"""Checks of the rules GEN: what holds for the wave streams of every model."""

from __future__ import annotations
