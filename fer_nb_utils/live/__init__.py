"""Expressions in moving pictures: from a camera, a video, a folder of images or the demo clip."""
