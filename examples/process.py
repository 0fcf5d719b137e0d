"""Small grey pictures out of large ones; needs Pillow.

    ipdc job submit -f process.py -r requirements.txt -c CID

Each picture below CID becomes a grey JPEG of at most 1024 x 1024 pixels and
200 kB, under the same path with the suffix .jpg. The same picture gives the
same bytes in every run with the same Pillow. ipdc calls the only function without
an underscore for each file.
"""
import io
import os

from PIL import Image, ImageOps

SIDE = 1024  # pixels, of the longer side
LIMIT = 200_000  # bytes
QUALITIES = (80, 65, 50, 35, 20)

# What a picture may need is what the job may have: see --memory.
Image.MAX_IMAGE_PIXELS = None


def downscale(file):
    image = Image.open(file)
    # Lets the JPEG decoder itself leave out what would be scaled away.
    image.draft("L", (SIDE, SIDE))
    image = _plain(image)
    image.thumbnail((SIDE, SIDE), Image.LANCZOS, reducing_gap=2.0)
    return os.path.splitext(file.name)[0] + ".jpg", _jpeg(_grey(image))


def _plain(image):
    """The picture in a mode that can be scaled smoothly."""
    if image.mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode.startswith(("I", "F")):  # 16 and 32 bits: the brightest is white
        high = image.getextrema()[1]
        scale = 255 / max(high, 65535 if image.mode.startswith("I") else 1e-9)
        image = image.convert("F").point(lambda v: v * scale + 0)
        return image.convert("L")
    if image.mode == "1":
        return image.convert("L")
    return image


def _grey(image):
    """In grey, on white where it is transparent, and the right way up."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("L")


def _jpeg(image):
    """As JPEG, in the best quality that fits; smaller if none does."""
    while True:
        for quality in QUALITIES:
            out = io.BytesIO()
            image.save(out, "JPEG", quality=quality, optimize=True)
            if out.tell() < LIMIT:
                return out.getvalue()
        image = image.reduce(2)
