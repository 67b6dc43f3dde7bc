"""TensorFlow alone: functions by name, TensorFlow 1's session, a server's request."""

import base64
import json
import sys

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

exports, data, out = sys.argv[1:]
images, _ = list(np.load(data).values())[:2]
with open(f"{data}.json") as file:
    files = json.load(file)
logits = f"{exports}/logits"
results = {}

local = tf.saved_model.LoadOptions(experimental_io_device="/job:localhost")
for name, options in (("plain", None), ("io device", local)):
    loaded = tf.saved_model.load(logits, options=options)
    results[name] = loaded(images[:3])
    results[f"{name}, training"] = loaded(images[:3], training=True)
assert set(loaded.signatures) == {
    "serving_default",
    "image_feature_vector",
    "image_bytes",
}
default = loaded.signatures["serving_default"](images=tf.constant(images[:3]))
vector = loaded.signatures["image_feature_vector"](images=tf.constant(images[:3]))
results |= {"serving_default": default["outputs"], "vector": vector["default"]}
with open(loaded.class_names.asset_path.numpy()) as file:
    results["class names"] = file.read().splitlines()

# A client of TensorFlow Serving knows no more than the signature.
stored = saved_model_pb2.SavedModel()
with open(f"{logits}/saved_model.pb", "rb") as file:
    stored.ParseFromString(file.read())
signature = stored.meta_graphs[0].signature_def["image_bytes"]
((name, spec),) = signature.inputs.items()
assert spec.dtype == tf.string.as_datatype_enum
assert signature.method_name == "tensorflow/serving/predict"
request = {
    "signature_name": "image_bytes",
    "instances": [{name: {"b64": content}} for content in files],
}
received = json.loads(json.dumps(request))
contents = [base64.b64decode(row[name]["b64"]) for row in received["instances"]]
classify = loaded.signatures[received["signature_name"]]
answer = classify(**{name: tf.constant(contents)})
results |= {f"bytes {key}": value for key, value in answer.items()}
assert all(len(value) == len(contents) for value in answer.values())
for bad in (b"no image", contents[1][: len(contents[1]) // 2]):
    try:
        classify(**{name: tf.constant([contents[0], bad, contents[2]])})
    except tf.errors.InvalidArgumentError as error:
        assert "image_bytes[1] is damaged or no image" in str(error), error
    else:
        raise AssertionError(f"took {bad[:10]} for an image")

graph = tf.Graph()
with graph.as_default(), tf.compat.v1.Session() as session:
    meta = tf.compat.v1.saved_model.load(session, ["serve"], logits)
    for key, given in (("serving_default", images[:3]), ("image_bytes", contents)):
        signature = meta.signature_def[key]
        ((_, fed),) = signature.inputs.items()
        fetched = {name: info.name for name, info in signature.outputs.items()}
        values = session.run(fetched, {fed.name: given})
        results |= {f"session {key} {name}": value for name, value in values.items()}

# By way of lists, so that strings are no objects, which would be pickled.
np.savez(out, **{name: np.array(value).tolist() for name, value in results.items()})
