"""A window of the desktop that shows frames."""

import time
from contextlib import AbstractContextManager

import cv2
import numpy as np

from ..errors import UserError

SHARE = 0.9  # of the screen's width and height that a picture may take


class Window(AbstractContextManager):
    """Shows one picture after another until it is closed or Escape or Q is pressed; a context.

    Made of tkinter, which comes with most Pythons, because this project's OpenCV has no windows. Raises UserError where
    there is no display or no tkinter.
    """

    def __init__(self, title: str):
        try:
            import tkinter  # here, for some Pythons come without

            self.root, self.new_photo = tkinter.Tk(), tkinter.PhotoImage
        except Exception as error:  # ImportError, or tkinter's own, which is not there then
            raise UserError(f"There can be no window here ({error}); write a video instead.") from error
        self.is_open = True
        self.root.title(title)
        self.root.protocol("WM_DELETE_WINDOW", self._leave)
        for key in ("<Escape>", "q"):
            self.root.bind(key, self._leave)
        self.label = tkinter.Label(self.root)
        self.label.pack()

    def show(self, image: np.ndarray) -> None:
        """Show a picture, uint8 (height, width, 3) BGR, and notice keys and clicks; `is_open` tells afterwards."""
        height, width, _ = image.shape
        scale = SHARE * min(self.root.winfo_screenwidth() / width, self.root.winfo_screenheight() / height)
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".ppm", image)[1].tobytes()
        self.photo = self.new_photo(data=data, format="PPM")  # tkinter keeps no reference of its own
        self.label.configure(image=self.photo)
        self.root.update()

    def wait(self, seconds: float = float("inf")) -> None:
        """Keep the picture for so many seconds, or until the window is closed."""
        end = time.perf_counter() + seconds
        while self.is_open and (left := end - time.perf_counter()) > 0:
            time.sleep(min(left, 0.02))
            self.root.update()

    def _leave(self, _event: object = None) -> None:
        self.is_open = False

    def __exit__(self, *_: object) -> None:
        self.root.destroy()
