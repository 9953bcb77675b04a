"""Packs: networks that train in lockstep in one worker, with one optimizer, on one device."""
