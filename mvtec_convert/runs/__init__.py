"""How a run is carried out: by several workers, its output whole or not at all, and nothing done twice."""
