"""From mask files to exact regions, and from these to every geometry: boxes, rings, run lengths, prompts.

The crop of a region is the truth; all else is derived from it, never from one another.
"""
