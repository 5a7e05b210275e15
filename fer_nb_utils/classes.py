"""The seven expressions and the three original splits of FER-2013, in the order used everywhere."""

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
USAGES = ("Training", "PublicTest", "PrivateTest")
