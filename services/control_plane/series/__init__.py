"""Curves of many jobs: histories by columns, smoothed, thinned, and followed.

The history in Redis and its archive stays the one truth. This is a copy of it, one column for each
metric, which may be lost at any time and is then made again. In order of reading:

- `answering`: what GetSeries asks for and gets.
- `store`, `folder`: bring the copies up to date, and hold those in use in memory.
- `blocks`, `growing`: packed points as arrays; arrays that grow.
- `columns`, `column_file`: one job's visible history by columns, in memory and in its file.
- `curves`: axes and values of a job, extended by what is new.
- `smoothing`, `thinning`: the moving average; as many points as a chart has room for.
"""
