"""Expressions in moving pictures: from a camera, a video, a folder of images or the demo clip.

sources -> realtime (detector, smoothing) -> outputs (drawing, window, video, table), memory, session_page.
`realtime.realtime_prediction` does it all; `widget.LiveCamera` does it in a notebook.
"""
