"""Small pictures of products that are part of the page itself."""

from base64 import b64encode
from io import BytesIO

from rubrika.products.images import PictureError, PictureFolder, open_picture
from rubrika.report.markup import Markup, element

SIDE = 96
QUALITY = 70


def thumbnail(pictures: PictureFolder | None, product_id: int) -> Markup:
    """The picture of a product, nothing where there is none that can be used."""
    path = pictures.find(product_id) if pictures else None
    if path is None:
        return Markup("")
    try:
        picture = open_picture(path, SIDE)
    except PictureError:
        return Markup("")
    stream = BytesIO()
    picture.save(stream, "WEBP", quality=QUALITY)
    source = f"data:image/webp;base64,{b64encode(stream.getvalue()).decode()}"
    return element("img", src=source, alt="", width=picture.width, height=picture.height)
