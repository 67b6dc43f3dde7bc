"""Image files as a request to TensorFlow Serving, and its answer computed here.

    python examples/serving_bytes.py [SAVED_MODEL [IMAGE ...]]

Prints the request that a client sends to http://HOST:8501/v1/models/NAME:predict, and
what the model answers. SAVED_MODEL is the folder of an export of a model with a head
and an image size; without it a small one with random weights looks at some doodles.
"""

import base64
import json
import sys

import tensorflow as tf
from doodles import small_saved_model

from bit_keras.assets import doodles_folder


def make_request(files):
    """Returns the body of a request: each image as it lies on the disk."""
    instances = []
    for file in files:
        with open(file, "rb") as stream:
            content = base64.b64encode(stream.read()).decode()
        instances.append({"image_bytes": {"b64": content}})
    return {"signature_name": "image_bytes", "instances": instances}


def answer(path, request):
    """Returns what the server would: a dict of arrays with a row for each image."""
    loaded = tf.saved_model.load(str(path))
    images = [
        base64.b64decode(instance["image_bytes"]["b64"])
        for instance in request["instances"]
    ]
    classify = loaded.signatures[request["signature_name"]]
    outputs = classify(image_bytes=tf.constant(images))
    return {name: value.numpy() for name, value in outputs.items()}


def main(path=None, *files):
    path = path or small_saved_model("logits")
    files = files or sorted(doodles_folder().glob("test/*/*.png"))[:3]
    request = make_request(files)
    print(f"{json.dumps(request)[:200]}...")
    outputs = answer(path, request)
    rows = zip(files, outputs["labels"], outputs["top_probabilities"], strict=True)
    for file, labels, shares in rows:
        print(f"{file}: {labels[0].decode()} ({shares[0]:.1%})")
    return outputs


if __name__ == "__main__":
    main(*sys.argv[1:])
