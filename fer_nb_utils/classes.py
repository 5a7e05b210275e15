"""The seven expressions, their colours, and the three original splits of FER-2013, in the order used everywhere."""

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
# told apart with any common colour-blindness: Okabe and Ito 2008, https://jfly.uni-koeln.de/color/
COLORS = "#D55E00 #009E73 #CC79A7 #E69F00 #7A7A7A #0072B2 #56B4E9"
CLASS_COLORS = dict(zip(CLASSES, COLORS.split(), strict=True))
NOT_SURE = "not sure"  # the live answer where no expression is probable enough
USAGES = ("Training", "PublicTest", "PrivateTest")
