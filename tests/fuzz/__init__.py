"""Fuzzing: every reader is given files that are nearly right, and must end in a result, a refusal or a finding.

    python -m tests.fuzz --inputs 100000        counts by reader, in the background if `nice -n 15` goes before
    python -m tests.fuzz --reader coco --first 812 --inputs 1 --keep broken

An input is made of valid files by the name of its reader, the seed and its number alone, so any can be made again.
`mutations` damages files, `readers` says what reads them, `worker` runs inputs in a process with limits on time and
memory, `__main__` starts workers, goes on behind inputs that kill one, and prints the table.
"""
