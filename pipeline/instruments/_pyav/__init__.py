"""PyAV behind `video`: one idea a file, from the bottom up.

faults (what can be wrong) < files (opening, and which track) < clock (stamps become times) < picture (how a frame is
turned and scaled) < packets (of one track, and their order) < header (what it says of lengths and counts) < survey
(what a file holds) < frames (every picture, in order).
"""
