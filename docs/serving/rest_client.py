"""Asks TensorFlow Serving or KServe for the mask of a picture, over REST. Needs Python and nothing else.

python rest_client.py photo.jpg mask.png
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path


def segment(url: str, picture: bytes) -> tuple[bytes, list[int]]:
    """Asks for the mask of a picture.

    Args:
        url: of the model, such as http://127.0.0.1:8501/v1/models/deeplab.
        picture: JPEG or PNG, as in its file.

    Returns:
        The mask as a PNG of the picture's size, whose values are classes; and how many pixels each class has.

    Raises:
        urllib.error.HTTPError: the server refuses it; the body is JSON that says why, under `error`.
        urllib.error.URLError: there is no server.
    """
    request = {
        # Its bytes come as base64. Those of `serving_default` would come as they are, which is no JSON.
        "signature_name": "rest",
        "inputs": {"images": [{"b64": base64.b64encode(picture).decode()}]},
    }
    body = json.dumps(request).encode()
    with urllib.request.urlopen(
        urllib.request.Request(f"{url}:predict", body, {"Content-Type": "application/json"})
    ) as response:
        outputs = json.load(response)["outputs"]
    return base64.b64decode(outputs["mask_bytes"][0]["b64"]), outputs["class_pixels"][0]


def main() -> None:
    """Writes the mask into a file and prints the pixels of each class."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8501/v1/models/deeplab", help="of the model")
    arguments = parser.parse_args()
    try:
        mask, class_pixels = segment(arguments.url, arguments.picture.read_bytes())
    except urllib.error.HTTPError as error:
        sys.exit(f"{arguments.picture}: {error.read().decode(errors='replace')}")
    except urllib.error.URLError as error:
        sys.exit(f"{arguments.url}: {error.reason}")
    arguments.mask.write_bytes(mask)
    print(class_pixels)


if __name__ == "__main__":
    main()
