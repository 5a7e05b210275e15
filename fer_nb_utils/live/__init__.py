"""Expressions in moving pictures: from a camera, a video, a folder of images or the demo clip.

sources -> pipeline (detector, smoothing) -> overlay -> video, window, snapshots, report.
`realtime.realtime_prediction` does it all; `widget.LiveCamera` does it in a notebook.
"""
