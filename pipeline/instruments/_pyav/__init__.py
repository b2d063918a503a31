"""PyAV behind `video`: one idea a file, from the bottom up.

faults (what can be wrong) < files (opening, and which track) < clock (stamps become times) < picture (how a frame is
turned and scaled) < survey (what a file holds, from all its packets) and frames (every picture, in order).
"""
